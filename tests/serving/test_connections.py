import contextlib
import json
import os
import resource
import socket
import time

import pytest
import tiny_assistant
import tiny_server
from tiny_server import KEY, messages

from m3it_jax.serving import connections

LONG = bool(os.environ.get("M3IT_LONG"))
NUM_SLOW = 500 if LONG else 60
LIMIT = 1 << 20


@pytest.fixture(scope="module")
def server():
    with pytest.MonkeyPatch.context() as patch:
        if not LONG:
            patch.setattr(connections, "RECEIVE_SECONDS", 1.0)
            patch.setattr(connections, "WRITE_SECONDS", 1.0)
        with tiny_server.running(most_bytes=LIMIT) as running:
            yield running


def _head(*lines: str, path: str = "/v1/chat/completions", method: str = "POST") -> bytes:
    first = (f"{method} {path} HTTP/1.1", "Host: 127.0.0.1", f"Authorization: Bearer {KEY}")
    return "\r\n".join((*first, "Content-Type: application/json", "Connection: close", *lines, "", "")).encode()


def _error(reply: bytes) -> tuple[int, dict]:
    """Returns (status, error) of a reply in OpenAI's form."""
    head, _, body = reply.partition(b"\r\n\r\n")
    error = json.loads(body)["error"]
    assert set(error) == {"message", "type", "param", "code"}
    return int(head.split()[1]), error


def _answer(server) -> float:
    began = time.perf_counter()
    status, _, body = server.ask("/v1/chat/completions", {"messages": messages(), "max_tokens": 3, "temperature": 0})
    assert status == 200, body
    return time.perf_counter() - began


def test_a_body_above_the_limit_is_refused_before_it_is_read(server):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    status, error = _error(server.send(_head("Content-Length: 104857600")))  # and not a byte of it
    assert status == 413 and error["code"] == "body_too_large"
    for line in ("Content-Length: " + "9" * 40, "Content-Length: 1048577"):
        assert _error(server.send(_head(line)))[0] in (400, 413)
    sent = 0
    with server.connect() as connection:  # a gigabyte in chunks, whose length nobody tells
        connection.sendall(_head("Transfer-Encoding: chunked"))
        chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
        with contextlib.suppress(OSError):
            while sent < 1 << 30:
                connection.sendall(chunk)
                sent += 65536
    # What was sent is what was read and what lies in the two sockets' buffers.
    assert sent < LIMIT + (8 << 20)
    assert (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) << 10 < 32 << 20
    _answer(server)


def test_packed_and_strange_bodies_are_refused(server):
    for line in ("Content-Encoding: gzip", "Content-Encoding: br"):
        assert _error(server.send(_head(line, "Content-Length: 10") + b"0123456789"))[0] == 415
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""):
        status, _, body = server.ask("/v1/chat/completions", {}, headers={"Content-Type": kind, "Connection": "close"})
        assert status == 415 and json.loads(body)["error"]["code"] == "wrong_content_type"


def test_what_is_no_http_is_told_in_openai_form(server):
    for data in (
        b"\x16\x03\x01\x02\x00\x01\x00",
        b"GET / HTTP/1.1\r\n\r\n",
        b"NONSENSE\r\n\r\n",
        _head("Content-Length: 5", "Content-Length: 6") + b"12345",
        _head("Transfer-Encoding: chunked") + b"zz\r\n",
        _head("X: " + "y" * 100_000),
    ):
        with server.connect() as connection:
            with contextlib.suppress(OSError):
                connection.sendall(data)
            reply = tiny_server.read_all(connection)
        if reply:  # a reset may overtake it
            assert _error(reply)[0] == 400, data
    _answer(server)


def test_header_injection_splits_nothing(server):
    status, headers, _ = server.ask("/v1/models/a%0d%0aX-Evil:%201")
    assert status == 404 and "x-evil" not in headers
    status, headers, _ = server.ask("/v1/chat/completions", {"model": "a\r\nX-Evil: 1", "messages": messages()})
    assert status == 404 and "x-evil" not in headers


def _closed(connections_open: list[socket.socket], feed: bytes, seconds: float) -> list[float]:
    """Returns after how many seconds each was closed while one byte after another was sent to it."""
    began, closed = time.monotonic(), {}
    place = 0
    while len(closed) < len(connections_open) and time.monotonic() - began < seconds:
        for connection in connections_open:
            if connection in closed:
                continue
            try:
                connection.send(feed[place : place + 1])
                if connection.recv(1 << 16) == b"":
                    closed[connection] = time.monotonic() - began
            except BlockingIOError:
                pass
            except OSError:
                closed[connection] = time.monotonic() - began
        place = min(place + 1, len(feed) - 1)
        time.sleep(0.25 if LONG else 0.1)
    return list(closed.values())


@pytest.mark.parametrize("place", ["headers", "body"])
def test_slow_clients_are_left_and_others_are_answered(server, place):
    idle = min(_answer(server) for _ in range(3))
    begin = b"" if place == "headers" else _head("Content-Length: 5000")
    feed = _head("X: " + "y" * 5000) if place == "headers" else b" " * 5000
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(server.connect()) for _ in range(NUM_SLOW)]
        for connection in opened:
            connection.sendall(begin)
            connection.setblocking(False)
        meanwhile = min(_answer(server) for _ in range(3))
        closed = _closed(opened, feed, 15.0)
    assert len(closed) == NUM_SLOW and max(closed) <= (15.0 if LONG else 5.0)
    assert meanwhile < 2 * idle + 0.1


def test_a_reader_that_takes_nothing_is_left(server):
    with server.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        # Files of the page, asked for again and again and never read, until the server's own buffers are full.
        request = _head(path="/page.js", method="GET").replace(b"Connection: close\r\n", b"")
        connection.settimeout(0.2)
        sent, began = 0, time.monotonic()
        with contextlib.suppress(ConnectionError):
            while time.monotonic() - began < 15:
                try:
                    connection.sendall(request * 50)
                    sent += 50
                except TimeoutError:
                    pass
            raise AssertionError(f"still open after {sent} requests")
    _answer(server)


def test_half_closed_and_cut_connections_leave_nothing_behind(server):
    body = json.dumps({"messages": messages(), "max_tokens": 300, "stream": True}).encode()
    whole = _head(f"Content-Length: {len(body)}") + body
    for end in (10, len(whole) - 5, len(whole)):
        with server.connect() as connection:
            connection.sendall(whole[:end])
            connection.shutdown(socket.SHUT_WR)
    deadline = time.monotonic() + 10
    engine = server.service.engine
    while (engine.scheduler.is_busy or engine.num_pending) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not engine.num_pending and not engine.scheduler.is_busy
    _answer(server)


def test_connections_beyond_the_most_are_closed_at_once(server, monkeypatch):
    monkeypatch.setattr(connections, "MOST_CONNECTIONS", 20)
    monkeypatch.setattr(connections, "RECEIVE_SECONDS", 60.0)
    with contextlib.ExitStack() as stack:
        opened = [stack.enter_context(server.connect()) for _ in range(40)]
        for connection in opened:
            connection.setblocking(False)
        closed, deadline = set(), time.monotonic() + 10
        while len(closed) < 20 and time.monotonic() < deadline:
            for connection in set(opened) - closed:
                with contextlib.suppress(BlockingIOError):
                    closed.add(connection) if _is_closed(connection) else None
            time.sleep(0.02)
        assert len(closed) == 20
    time.sleep(0.3)
    _answer(server)


def _is_closed(connection: socket.socket) -> bool:
    try:
        return connection.recv(1) == b""
    except ConnectionError:
        return True


def test_pictures_of_a_request_are_bounded(server):
    many = [tiny_assistant.png(1)[:60]] * 1000
    status, _, body = server.ask("/v1/chat/completions", {"messages": messages("what?", *many)})
    assert status == 413 and json.loads(body)["error"]["code"] == "too_many_images"


def test_a_stalled_body_is_told_408_where_it_is_read(server):
    with server.connect() as connection:
        connection.sendall(_head("Content-Length: 100") + b"{")
        status, error = _error(tiny_server.read_all(connection))
    assert status == 408 and error["code"] == "request_timeout"
