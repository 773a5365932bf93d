import json
import socket
import threading
import time

import pytest
import tiny_server
from tiny_server import KEY, messages

from m3it_jax import errors
from m3it_jax.serving import server as server_lib


def test_a_taken_port_is_told_before_anything_is_loaded():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(errors.UserError, match="choose another port"):
            server_lib.check_port("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(errors.UserError, match="--host 203.0.113.7"):
        server_lib.check_port("203.0.113.7", 0)
    server_lib.check_port("127.0.0.1", 0)


def test_only_a_server_for_this_machine_asks_for_its_name():
    assert server_lib.names("127.0.0.1") == {"127.0.0.1", "localhost", "[::1]"}
    assert "gpu.example" in (server_lib.names("127.0.0.1", ["GPU.example"]) or ())
    assert server_lib.names("0.0.0.0") is None
    assert server_lib.names("0.0.0.0", ["gpu.example"]) >= {"gpu.example", "localhost"}
    assert (
        server_lib.is_loopback("127.0.0.5") and server_lib.is_loopback("::1") and not server_lib.is_loopback("0.0.0.0")
    )


def test_answers_under_way_are_finished_when_the_server_ends():
    body = json.dumps({"messages": messages(), "max_tokens": 60, "stream": True, "temperature": 0}).encode()
    head = (
        f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {KEY}\r\nConnection: close\r\n"
    )
    head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    replies: list[bytes] = []
    with tiny_server.running(num_rows=2) as running:
        release = threading.Event()
        running.service.engine._inbox.put(release.wait)
        asking = threading.Thread(target=lambda: replies.append(running.send(head.encode() + body)))
        asking.start()
        while not running.service.engine.num_pending:
            time.sleep(0.01)
        threading.Timer(0.5, release.set).start()
    # The server has been told to end before the answer had a single token.
    asking.join(30)
    events = tiny_server.events(tiny_server.unchunked(replies[0].partition(b"\r\n\r\n")[2]))
    assert events[-1]["choices"][0]["finish_reason"] in ("stop", "length")
    with pytest.raises(OSError):
        running.connect()
