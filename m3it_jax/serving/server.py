"""Runs the application: the port opens when everything is compiled, and closes before the last answers are given."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Collection

import uvicorn
from starlette.types import ASGIApp

from m3it_jax import errors
from m3it_jax.serving import connections

DRAIN_SECONDS = 30  # CHOICE: what container managers wait between SIGTERM and SIGKILL
_LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


def is_loopback(host: str) -> bool:
    """Returns whether only this machine can reach an address."""
    return host in ("localhost", "::1") or host.startswith("127.")


def names(host: str, more: Collection[str] = ()) -> frozenset[str] | None:
    """Returns the names that a server at this address may be called by; None, any, where others can reach it."""
    if not is_loopback(host) and not more:
        return None
    return frozenset({*_LOOPBACK, host.lower(), *(name.lower() for name in more)})


def check_port(host: str, port: int) -> None:
    """Finds out early whether the port is free.

    Raises:
      UserError: it is not, or the address is none of this machine's.
    """

    async def listen() -> None:
        server = await asyncio.start_server(lambda *_: None, host, port)
        server.close()
        await server.wait_closed()

    try:
        asyncio.run(listen())
    except OSError as error:
        reason = error.strerror or "no such address"
        raise errors.UserError(
            f"--host {host} --port {port}: cannot be listened on ({reason}); choose another port, or --port 0 for any"
        ) from error


class Server(uvicorn.Server):
    """uvicorn's server, which says where it is found once it is.

    Attributes:
      url: Where it is found; empty until then.
    """

    def __init__(self, app: ASGIApp, *, host: str, port: int, ready: Callable[[str], None]):
        """Takes the application, the address, and what is called with the server's address when it is open."""
        config = uvicorn.Config(
            app,
            host=host,
            port=port,
            http=connections.Connection,
            ws="none",
            log_level="error",
            access_log=False,
            server_header=False,
            proxy_headers=False,
            h11_max_incomplete_event_size=64 << 10,  # of all headers
            timeout_keep_alive=5,
            timeout_graceful_shutdown=DRAIN_SECONDS,
        )
        super().__init__(config)
        self.url = ""
        self._ready = ready

    async def startup(self, sockets: list | None = None) -> None:
        """Opens the port."""
        await super().startup(sockets)
        if self.servers:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            self.url = f"http://{f'[{host}]' if ':' in host else host}:{port}"
            self._ready(self.url)


def run(app: ASGIApp, *, host: str, port: int, ready: Callable[[str], None]) -> None:
    """Serves until SIGTERM or Ctrl-C; then no new request is taken and those under way are finished.

    Raises:
      KeyboardInterrupt: it was Ctrl-C.
      UserError: the port was taken meanwhile.
    """
    # uvicorn raises the signal again when it has drained; SIGTERM is then done with, and the process ends by itself.
    before = signal.signal(signal.SIGTERM, lambda *_: None)
    server = Server(app, host=host, port=port, ready=ready)
    try:
        with contextlib.suppress(SystemExit):
            server.run()
    finally:
        signal.signal(signal.SIGTERM, before)
    if not server.url:
        raise errors.UserError(f"--host {host} --port {port}: cannot be listened on; choose another port")
