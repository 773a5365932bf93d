"""A text model's endpoint that says what a test wants it to say, on 127.0.0.1."""

import contextlib
import http.server
import json
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest


def completion(text: Any, finish: str = "stop", prompt_tokens: int = 10, answer_tokens: int = 5) -> dict[str, Any]:
    """What an endpoint answers when all is well."""
    return {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}],
        "usage": {"prompt_tokens": prompt_tokens, "completion_tokens": answer_tokens},
    }


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64


class FakeEndpoint:
    """`reply(body, number)` returns a text, a whole completion, or (status, headers, bytes); it may sleep."""

    def __init__(self, reply: Callable[[dict[str, Any], int], Any]):
        self.reply = reply
        self.bodies: list[dict[str, Any]] = []
        self.keys: list[str] = []
        self.times: list[float] = []
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def __enter__(self) -> "FakeEndpoint":
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def _handler(self) -> type[http.server.BaseHTTPRequestHandler]:
        fake = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                with fake._lock:
                    number = len(fake.bodies)
                    fake.bodies.append(body)
                    fake.keys.append(self.headers.get("Authorization", ""))
                    fake.times.append(time.monotonic())
                    fake._at_once += 1
                    fake.most_at_once = max(fake.most_at_once, fake._at_once)
                try:
                    found = fake.reply(body, number)
                finally:
                    with fake._lock:
                        fake._at_once -= 1
                if isinstance(found, str):
                    found = completion(found)
                if isinstance(found, dict):
                    found = (200, {}, json.dumps(found).encode())
                status, headers, data = found
                with contextlib.suppress(OSError):  # the client may have gone
                    self.send_response(status)
                    for name, value in ({"Content-Length": len(data)} | headers).items():
                        self.send_header(name, str(value))
                    self.end_headers()
                    self.wfile.write(data)

            def log_message(self, *args: object) -> None:
                pass

        return Handler


@pytest.fixture
def endpoint() -> Iterator[Callable[[Callable[[dict[str, Any], int], Any]], FakeEndpoint]]:
    """endpoint(reply): a running endpoint; it ends with the test."""
    with contextlib.ExitStack() as stack:
        yield lambda reply: stack.enter_context(FakeEndpoint(reply))
