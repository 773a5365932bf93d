"""A server over the assistant of `tiny_assistant` in a thread of the tests, and raw requests to it."""

import base64
import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from typing import Any

import tiny_assistant

from m3it_jax.generation.scheduler import Scheduler
from m3it_jax.serving import app
from m3it_jax.serving.engine import Engine
from m3it_jax.serving.server import Server, names

KEY = "a-key-of-the-tests"


class Running:
    """A server that answers.

    Attributes:
      service: What it serves.
      url: Where it is.
      address: (host, port).
    """

    def __init__(self, service: app.Service, url: str):
        self.service, self.url = service, url
        host, port = url.removeprefix("http://").split(":")
        self.address = (host, int(port))

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=30)

    def send(self, *parts: bytes) -> bytes:
        """Sends bytes and returns everything that comes back until the server closes."""
        with self.connect() as connection:
            try:
                for part in parts:
                    connection.sendall(part)
            except OSError:
                pass  # refused before all of it was sent
            return read_all(connection)

    def ask(
        self, path: str, body: Any = None, *, method: str | None = None, headers: dict[str, str] | None = None
    ) -> tuple[int, dict[str, str], bytes]:
        """Returns (status, headers, body) of a request; `body` is JSON, or bytes that are sent as they are."""
        data = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        given = {"Host": f"127.0.0.1:{self.address[1]}", "Connection": "close", "Authorization": f"Bearer {KEY}"}
        if data:
            given |= {"Content-Type": "application/json", "Content-Length": str(len(data))}
        given |= headers or {}
        lines = [f"{method or ('POST' if body is not None else 'GET')} {path} HTTP/1.1"]
        lines += [f"{name}: {value}" for name, value in given.items() if value is not None]
        return parse("\r\n".join([*lines, "", ""]).encode() + data, self)


def parse(request: bytes, running: Running) -> tuple[int, dict[str, str], bytes]:
    """Returns (status, headers, body) of what a request is answered with."""
    head, _, body = running.send(request).partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if headers.get("transfer-encoding") == "chunked":
        body = unchunked(body)
    return int(first.split()[1]), headers, body


def read_all(connection: socket.socket) -> bytes:
    """Returns what comes until the other side closes."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := connection.recv(1 << 16):
            parts.append(part)
    return b"".join(parts)


def unchunked(body: bytes) -> bytes:
    """Returns a body that came in chunks."""
    out = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        out, body = out + body[: int(size, 16)], body[int(size, 16) + 2 :]
    return out


def messages(text: str = "What colour?", *pictures: bytes) -> list[dict]:
    parts = [{"type": "image_url", "image_url": {"url": url(picture)}} for picture in pictures]
    return [{"role": "user", "content": [*parts, {"type": "text", "text": text}]}]


def url(picture: bytes, kind: str = "image/png") -> str:
    return f"data:{kind};base64,{base64.b64encode(picture).decode()}"


def events(body: bytes) -> list[dict]:
    """Returns the events of a stream but the last, which must be [DONE]."""
    lines = [line for line in body.decode().split("\n\n") if line and not line.startswith(":")]
    assert lines[-1] == "data: [DONE]", lines[-1:]
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]


@contextlib.contextmanager
def running(*, num_rows: int = 4, most_waiting: int = 8, **settings: Any) -> Iterator[Running]:
    """Yields a server over a warm scheduler."""
    made = Scheduler(tiny_assistant.make().sampler, num_rows=num_rows, pool_bytes=1 << 20)
    made.warm_up()
    settings = {"name": "tiny", "key": KEY, "hosts": names("127.0.0.1"), "most_bytes": 1 << 20, **settings}
    service = app.Service(Engine(made, most_waiting=most_waiting), app.Settings(**settings))
    opened = threading.Event()
    server = Server(app.make(service), host="127.0.0.1", port=0, ready=lambda _: opened.set())
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    assert opened.wait(60)
    try:
        yield Running(service, server.url)
    finally:
        server.should_exit = True
        thread.join(60)
        assert not thread.is_alive()
