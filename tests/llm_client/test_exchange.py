"""One exchange without a network: where it goes, how long it may take, and what is told of what came back."""

import io
import json
import urllib.request

import pytest

from m3it_jax.llm_client import KEY_VARIABLE, Answer, Tokens, exchange

MOST = Tokens(7, 9)


@pytest.fixture
def endpoint(monkeypatch) -> exchange.Endpoint:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)
    return exchange.Endpoint("http://models.example:8000", 2.5)


class Response(io.BytesIO):
    def read1(self, size: int) -> bytes:
        return self.read(min(size, 10))  # in many pieces


def test_requests_go_to_the_whole_address_and_have_so_long(endpoint, monkeypatch) -> None:
    asked = []

    def open_it(request, timeout=None):
        asked.append((request.full_url, request.get_method(), request.data, timeout))
        said = {"choices": [{"message": {"content": "yes"}, "finish_reason": "stop"}]}
        return Response(json.dumps(said | {"usage": {"prompt_tokens": 3, "completion_tokens": 4}}).encode())

    monkeypatch.setattr(endpoint._opener, "open", open_it)
    assert endpoint.url == "http://models.example:8000/v1/chat/completions"
    assert endpoint.exchange(b"{}", MOST) == Answer("yes", "stop", Tokens(3, 4)) and endpoint.reached
    assert asked == [(endpoint.url, "POST", b"{}", 2.5)]


@pytest.mark.parametrize(
    ("host", "settings"), [("localhost", {}), ("127.0.0.1", {}), ("[::1]", {}), ("models.example", None)]
)
def test_what_runs_on_this_machine_is_behind_no_proxy(monkeypatch, host: str, settings) -> None:
    made = []

    class Handler(urllib.request.ProxyHandler):
        def __init__(self, proxies=None):
            made.append(proxies)
            super().__init__(proxies)

    monkeypatch.setattr(urllib.request, "ProxyHandler", Handler)
    exchange.Endpoint(f"http://{host}:8000", 1.0)
    assert made == [settings]


@pytest.mark.parametrize("size", [0, 99, 100, 101])
def test_a_body_may_be_as_long_as_the_limit(monkeypatch, size: int) -> None:
    monkeypatch.setattr(exchange, "MAX_RESPONSE_BYTES", 100)
    if size > 100:
        with pytest.raises(exchange.UnansweredError, match="answers with more than 100 bytes") as caught:
            exchange._read(Response(b"x" * size), float("inf"))
        assert caught.value.again and caught.value.billed
    else:
        assert exchange._read(Response(b"x" * size), float("inf")) == b"x" * size


def test_what_an_endpoint_said_is_told_in_one_short_line(endpoint) -> None:
    with pytest.raises(exchange.UnansweredError) as caught:
        endpoint._parsed(b"<html>\n" + b"\xc3\xa9" * 2_000, MOST)
    told = str(caught.value).removeprefix("is no chat completion: ")
    assert told == "<html> " + "é" * (300 - 7)  # 300: long enough for a sentence, short enough for a line
    assert caught.value.billed and caught.value.again


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": 0, "completion_tokens": 0}, Tokens(0, 0)),
        ({"prompt_tokens": 3}, MOST),
        ({"completion_tokens": 3}, MOST),
        ({"prompt_tokens": 3, "completion_tokens": True}, MOST),
        ({"prompt_tokens": 3, "completion_tokens": -1}, MOST),
        ([], MOST),
        (None, MOST),
    ],
)
def test_both_counts_must_be_sound_or_the_most_is_taken(endpoint, usage, tokens: Tokens) -> None:
    raw = {"choices": [{"message": {"content": None}}], "usage": usage}
    assert endpoint._parsed(json.dumps(raw).encode(), MOST) == Answer("", "", tokens)
