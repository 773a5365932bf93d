"""Connections of clients that are slow, silent or too many: each ends within a time of its own.

uvicorn waits for the rest of a request, and for a reader, as long as the client likes. Here a request must have arrived
RECEIVE_SECONDS after its connection was made or its first byte came, and later only as far as its size excuses it; and
a client that takes nothing of its answer for WRITE_SECONDS is left.
"""

import asyncio
import json
import time
from typing import Any

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol

from m3it_jax.serving.api_errors import ApiError

RECEIVE_SECONDS = 10.0  # CHOICE: S3 of what others suffer from: all are closed within 15
WRITE_SECONDS = 10.0
LINGER_SECONDS = 1.0  # for the client to read why its body is not taken
_LEAST_RATE = 256 << 10  # bytes a second that excuse a large request
MOST_CONNECTIONS = 1_000
_PHRASES = {400: b"Bad Request", 408: b"Request Timeout"}


class Connection(H11Protocol):
    """uvicorn's connection with deadlines, and with errors in OpenAI's form."""

    _receiving: asyncio.TimerHandle | None = None
    _writing: asyncio.TimerHandle | None = None
    _began = 0.0
    _num_bytes = 0

    def connection_made(self, transport: Any) -> None:
        """Takes a connection, or closes it at once where there are too many."""
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
            return
        self._expect()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forgets it."""
        for timer in (self._receiving, self._writing):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Takes bytes of a request."""
        if self._receiving is None and self._is_between:
            self._expect()
        self._num_bytes += len(data)
        super().data_received(data)
        if self._receiving is not None and self.conn.their_state is not h11.SEND_BODY and self.cycle is not None:
            if self.conn.their_state is not h11.IDLE:
                self._receiving.cancel()
                self._receiving = None

    @property
    def _is_between(self) -> bool:
        """Whether no request is being answered."""
        return self.cycle is None or self.cycle.response_complete

    def _expect(self) -> None:
        self._began, self._num_bytes = time.monotonic(), 0
        self._receiving = self.loop.call_later(RECEIVE_SECONDS, self._look)

    def _look(self) -> None:
        """Ends the connection if its request has not come, unless so much of it has that more time is fair."""
        late = RECEIVE_SECONDS + self._num_bytes / _LEAST_RATE - (time.monotonic() - self._began)
        if late > 0:
            self._receiving = self.loop.call_later(late, self._look)
            return
        self._receiving = None
        self._refuse(408, f"the request did not arrive within {RECEIVE_SECONDS:.0f} seconds", "request_timeout")

    def on_response_complete(self) -> None:
        """Is called when a response is sent; uvicorn would go on to read the rest of a refused body, however long."""
        if self.conn.their_state is not h11.SEND_BODY or self.transport.is_closing():
            super().on_response_complete()
            return
        # Closed at once, the client's system might throw the refusal away with the connection.
        self.server_state.total_requests += 1
        self.flow.pause_reading()
        self.transport.write_eof()
        self.loop.call_later(LINGER_SECONDS, self.transport.abort)

    def pause_writing(self) -> None:
        """Is called when the client does not take what is sent."""
        super().pause_writing()
        self._writing = self.loop.call_later(WRITE_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        """Is called when it takes it again."""
        if self._writing is not None:
            self._writing.cancel()
            self._writing = None
        super().resume_writing()

    def send_400_response(self, msg: str) -> None:
        """Refuses what is no HTTP, and closes."""
        self._refuse(400, msg, "invalid_http")

    def _refuse(self, status: int, message: str, code: str) -> None:
        """Says why, if nothing was said yet, and closes."""
        content = json.dumps(ApiError(status, message, code=code).body()).encode()
        headers = [(b"content-type", b"application/json"), (b"connection", b"close")]
        headers.append((b"content-length", str(len(content)).encode()))
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            events = [
                h11.Response(status_code=status, headers=headers, reason=_PHRASES[status]),
                h11.Data(data=content),
            ]
            for event in (*events, h11.EndOfMessage()):
                self.transport.write(self.conn.send(event))
        self.transport.close()
