import json

import pytest
import tiny_server
from tiny_server import messages


@pytest.fixture(scope="module")
def server():
    with tiny_server.running(num_rows=2) as running:
        yield running


BODY = {"messages": messages(), "max_tokens": 1}


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80", "", "[::1", "@127.0.0.1"]
)
def test_a_name_that_is_not_the_servers_is_refused(server, host):
    status, _, body = server.ask("/v1/models", headers={"Host": host})
    assert status in (400, 403), host
    assert json.loads(body)["error"]["code"] in ("wrong_host", "invalid_http")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:9", "127.0.0.1", "[::1]:80"])
def test_names_of_this_machine_are_taken(server, host):
    assert server.ask("/v1/models", headers={"Host": host})[0] == 200


@pytest.mark.parametrize("origin", ["http://evil.example", "null", "file://", "http://127.0.0.1:1", "https://[", ""])
def test_pages_of_other_sites_may_not_ask(server, origin):
    status, headers, body = server.ask("/v1/chat/completions", BODY, headers={"Origin": origin})
    assert status == 403 and json.loads(body)["error"]["code"] == "wrong_origin"
    assert not any(name.startswith("access-control") for name in headers)
    status, headers, _ = server.ask("/v1/chat/completions", method="OPTIONS", headers={"Origin": origin})
    assert status >= 400 and not any(name.startswith("access-control") for name in headers)


def test_its_own_page_may_ask(server):
    assert server.ask("/v1/chat/completions", BODY, headers={"Origin": server.url})[0] == 200


def test_every_response_says_what_a_browser_may_do(server):
    for path in ("/", "/page.js", "/page.css", "/healthz", "/v1/models", "/nothing"):
        _, headers, _ = server.ask(path)
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy and "unsafe" not in policy and "frame-ancestors 'none'" in policy
        assert headers["x-content-type-options"] == "nosniff" and "server" not in headers


def test_other_routes_and_methods_are_told_in_openai_form(server):
    cases = {
        404: [
            "GET /nothing",
            "POST /v1/completions",
            "GET /../etc/passwd",
            "GET /%2e%2e/x",
            "GET /page.js/../../app.py",
        ],
        405: ["GET /v1/chat/completions", "DELETE /v1/models"],
    }
    for wanted, line in ((status, line) for status, lines in cases.items() for line in lines):
        method, path = line.split()
        status, _, body = server.ask(path, method=method)
        assert status == wanted and set(json.loads(body)["error"]) == {"message", "type", "param", "code"}, path


def test_a_length_that_is_none_is_refused(server):
    for length in ("-1", "1e3", "0x10", "９"):
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: localhost\r\nContent-Length: {length}\r\n\r\n"
        reply = server.send(head.encode("utf-8"))
        assert reply.startswith(b"HTTP/1.1 400"), length
