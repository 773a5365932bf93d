import http.server
import socket
import threading

import pytest

from m3it_jax import errors
from m3it_jax.llm_client import picture_fetch


class Canary(http.server.BaseHTTPRequestHandler):
    hits: list[str] = []
    answers: dict[str, tuple[int, dict[str, str], bytes]] = {}

    def do_GET(self):
        self.hits.append(self.path)
        status, headers, body = self.answers.get(self.path, (200, {}, b"a picture"))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def port():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Canary) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_address[1]
        server.shutdown()


@pytest.fixture
def resolve(monkeypatch):
    """Every name is this machine unless a test says otherwise."""
    Canary.hits.clear()
    answers = {"addresses": ["127.0.0.1"], "asked": []}

    def found(host, port, *_, **__):
        if host == "127.0.0.1":  # the connection to what was found
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (host, port))]
        answers["asked"].append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", (address, port)) for address in answers["addresses"]]

    monkeypatch.setattr(picture_fetch.socket, "getaddrinfo", found)
    return answers


def _fetch(url: str, *hosts: str, most: int = 1000) -> bytes:
    return picture_fetch.fetch(url, hosts=hosts, most_bytes=most)


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "127.8.9.1", "0.0.0.0", "10.0.0.1", "172.16.3.4", "192.168.1.1", "169.254.169.254", "100.64.0.1",
        "224.0.0.1", "255.255.255.255", "192.0.2.1", "198.18.0.1", "240.0.0.1", "::", "::1", "fe80::1", "fe80::1%eth0",
        "fc00::1", "fd00:ec2::254", "::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "2002:7f00:1::",
        "ff02::1", "2001:db8::1", "nonsense", "",
    ],
)  # fmt: skip
def test_addresses_that_are_not_public(address):
    assert not picture_fetch.is_public(address)


@pytest.mark.parametrize(
    "address", ["93.184.216.34", "8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"]
)
def test_addresses_that_are_public(address):
    assert picture_fetch.is_public(address)


@pytest.mark.parametrize(
    "url",
    [
        "http://evil.example/a", "http://pictures.example.evil.example/a", "http://pictures.example./a",
        "http://pictures.example@evil.example/a", "http://evil.example\\@pictures.example/a", "//pictures.example/a",
        "http://pictures.example:81/a", "http://pictures.example\t/a", "http://pictures.example/a b", "file:///etc/passwd",
        "gopher://pictures.example/", "ftp://pictures.example/a", "http://", "http://[::1]/", "http://127.0.0.1/",
        "http://2130706433/", "http://0x7f.1/", "http://0177.0.0.1/", "http://[pictures.example]/", "http://pictures.example:x/",
        "http://user:pw@pictures.example/a", "http://ｐictures.example/a", "http://pictures.example#@evil.example/",
    ],
)  # fmt: skip
def test_other_addresses_are_refused_and_nothing_is_reached(url, resolve):
    with pytest.raises(errors.UserError):
        _fetch(url, "pictures.example")
    assert Canary.hits == []


@pytest.mark.parametrize("addresses", [["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["169.254.169.254"], []])
def test_an_allowed_name_that_leads_inside_reaches_nothing(addresses, resolve, port):
    resolve["addresses"] = addresses
    with pytest.raises(errors.UserError, match="public network"):
        _fetch(f"http://pictures.example:{port}/a", f"pictures.example:{port}")
    assert Canary.hits == []


@pytest.fixture
def public(monkeypatch, port):
    """This machine counts as public; returns the allowed host."""
    monkeypatch.setattr(picture_fetch, "is_public", lambda address: address == "127.0.0.1")
    return f"pictures.example:{port}"


def test_a_picture_of_an_allowed_host_is_fetched_and_its_name_resolved_once(public, resolve):
    assert _fetch(f"http://{public}/a?b=c", public) == b"a picture"
    assert Canary.hits == ["/a?b=c"] and resolve["asked"] == ["pictures.example"]


def test_redirects_are_checked_again(public, resolve):
    Canary.answers = {
        "/near": (302, {"Location": "/a"}, b""),
        "/far": (302, {"Location": "http://evil.example/a"}, b""),
        "/file": (301, {"Location": "file:///etc/passwd"}, b""),
        "/loop": (307, {"Location": "/loop"}, b""),
        "/nowhere": (302, {}, b""),
    }
    assert _fetch(f"http://{public}/near", public) == b"a picture"
    for path in ("far", "file", "loop", "nowhere"):
        Canary.hits.clear()
        with pytest.raises(errors.UserError):
            _fetch(f"http://{public}/{path}", public)
        assert set(Canary.hits) == {f"/{path}"} and len(Canary.hits) <= 4


def test_large_packed_slow_and_missing_pictures_are_refused(public, resolve, monkeypatch):
    Canary.answers = {
        "/large": (200, {}, b"x" * 5000),
        "/packed": (200, {"Content-Encoding": "gzip"}, b"x"),
        "/missing": (404, {}, b"secret words"),
    }
    for path, words in (("large", "more than 1,000 bytes"), ("packed", "plain file"), ("missing", "404")):
        with pytest.raises(errors.UserError, match=words) as error:
            _fetch(f"http://{public}/{path}", public)
        assert "secret" not in str(error.value)
    monkeypatch.setattr(picture_fetch, "SECONDS", -1.0)
    with pytest.raises(errors.UserError):
        _fetch(f"http://{public}/a", public)
