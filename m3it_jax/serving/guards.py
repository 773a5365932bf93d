"""What stands before every route: who may ask, from where, and how much.

Host       a name that this server was given: another site's name that resolves here is not it (DNS rebinding)
Origin     a browser's page of another site may not ask
key        on every route but /healthz
body       JSON of a bounded size, not packed; refused before it is read where its length says so
"""

import base64
import hmac
import time
from collections.abc import Collection, Mapping

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from m3it_jax.serving.api_errors import ApiError
from m3it_jax.serving.metrics import Metrics

OPEN_ROUTES = frozenset({"/healthz"})

# The page's own script and style, pictures from the clipboard, and nothing from elsewhere.
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data: blob:; media-src blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_HEADERS = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
)


def refusal(error: ApiError) -> JSONResponse:
    """Returns the response that tells an error."""
    return JSONResponse(error.body(), error.status, headers=error.headers)


class Guards:
    """ASGI middleware around the whole application."""

    def __init__(
        self, app: ASGIApp, *, key: str | None, hosts: Collection[str] | None, most_bytes: int, metrics: Metrics
    ):
        """Takes what is allowed.

        Args:
          app: What answers.
          key: What a client must name; None: nothing.
          hosts: Names that the server may be called by, lower case without port; None: any.
          most_bytes: Of a request's body.
          metrics: Counts responses.
        """
        self._app, self._key, self._hosts, self._most_bytes = app, key, hosts, most_bytes
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        scope["m3it.arrived"] = time.monotonic()
        has_begun = False

        async def guarded_send(message: Message) -> None:
            nonlocal has_begun
            if message["type"] == "http.response.start":
                has_begun = True
                route = scope["path"] if scope["path"] in KNOWN_ROUTES else "other"
                self._metrics.count("m3it_responses_total", route=route, status=str(message["status"]))
                message = {**message, "headers": [*message.get("headers", []), *_HEADERS]}
            await send(message)

        try:
            self._check(scope, headers)
            await self._app(scope, self._counted(receive), guarded_send)
        except ApiError as error:
            if not has_begun:
                await refusal(error)(scope, receive, guarded_send)

    def _check(self, scope: Scope, headers: Mapping[str, str]) -> None:
        """Refuses a request by its first lines.

        Raises:
          ApiError: says why.
        """
        host = _name(headers.get("host", ""))
        if self._hosts is not None and host not in self._hosts:
            raise ApiError(403, "Host: this server is not called by that name", code="wrong_host")
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2].lower() != headers.get("host", "").lower():
            raise ApiError(403, "Origin: pages of other sites may not ask this server", code="wrong_origin")
        if scope["path"] not in OPEN_ROUTES and self._key is not None and not self._knows_key(headers):
            # A browser that opens the page asks its user: any name, and the key as the password.
            asks = {"WWW-Authenticate": 'Basic realm="m3it serve", charset="UTF-8"'} if scope["path"] == "/" else {}
            raise ApiError(
                401,
                "the API key is missing or wrong; send Authorization: Bearer KEY",
                code="invalid_api_key",
                headers=asks,
            )
        if headers.get("content-encoding", "identity").lower() != "identity":
            raise ApiError(415, "Content-Encoding: packed bodies are not taken; send plain JSON", code="encoded_body")
        length = headers.get("content-length", "0")
        if length.isdecimal() and int(length[:20]) > self._most_bytes:
            raise self._too_large()

    def _knows_key(self, headers: Mapping[str, str]) -> bool:
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "basic":
            try:
                given = base64.b64decode(given, validate=True).decode("utf-8").partition(":")[2]
            except ValueError:
                return False
        elif kind.lower() != "bearer":
            return False
        # In a time that says nothing about how much of it is right.
        return hmac.compare_digest(given.strip().encode("utf-8"), (self._key or "").encode("utf-8"))

    def _counted(self, receive: Receive) -> Receive:
        total = 0

        async def counted() -> Message:
            nonlocal total
            message = await receive()
            total += len(message.get("body", b""))
            if total > self._most_bytes:
                raise self._too_large()
            return message

        return counted

    def _too_large(self) -> ApiError:
        limit = self._most_bytes >> 20
        return ApiError(413, f"the body has more than {limit} MiB; send smaller pictures", code="body_too_large")


KNOWN_ROUTES = frozenset({"/", "/healthz", "/metrics", "/v1/models", "/v1/chat/completions"})


def _name(host: str) -> str:
    """Returns the name in a Host header, without its port."""
    host = host.strip().lower()
    if host.startswith("["):
        name, closed, _ = host.partition("]")
        return name + closed
    return host.partition(":")[0]
