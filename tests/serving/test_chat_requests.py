import json
import random
import re

import pytest
import tiny_assistant
import tiny_server

from m3it_jax import schema
from m3it_jax.serving import chat_requests
from m3it_jax.serving.api_errors import ApiError


def _parse(**fields) -> chat_requests.ChatRequest:
    return chat_requests.parse(json.dumps({"messages": [{"role": "user", "content": "hi"}], **fields}).encode())


def _refused(**fields) -> ApiError:
    with pytest.raises(ApiError) as error:
        _parse(**fields)
    return error.value


def test_defaults_are_those_of_openai():
    found = _parse()
    assert found.turns == (schema.Turn("hi"),) and found.shown == () and found.num_choices == 1
    assert found.sampling == {"temperature": 1.0, "top_p": 1.0, "top_k": 0, "stop": ()}
    assert found.max_tokens is None and found.num_best is None and not found.is_stream
    assert found.seed != _parse().seed  # drawn anew


def test_messages_become_turns():
    picture = {"type": "image_url", "image_url": {"url": tiny_server.url(tiny_assistant.png(1)), "detail": "high"}}
    found = _parse(
        messages=[
            {"role": "system", "content": "Be short."},
            {"role": "user", "content": [picture, {"type": "text", "text": "one"}]},
            {"role": "user", "content": [{"type": "text", "text": "two"}, picture, picture]},
            {"role": "assistant", "content": "a"},
            {"role": "assistant", "content": [{"type": "text", "text": "b"}]},
            {"role": "developer", "content": "Be kind."},
            {"role": "user", "content": "three", "name": "me"},
        ]
    )
    assert found.system == "Be short.\nBe kind."
    assert found.turns == (schema.Turn("one\ntwo", outputs="a\nb", new_pictures=3), schema.Turn("three"))
    assert len(found.shown) == 3 and len({picture.key for picture in found.shown}) == 1


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("n", 10**6), ("n", 0), ("n", 1.5), ("n", True), ("max_tokens", 10**9), ("max_tokens", 0), ("max_tokens", "9"),
        ("max_completion_tokens", -1), ("temperature", -0.1), ("temperature", 2.1), ("temperature", "hot"),
        ("temperature", True), ("top_p", 1.1), ("top_k", -2), ("seed", -1), ("seed", 2**63), ("stop", [""]),
        ("stop", ["a"] * 5), ("stop", 5), ("stop", ["x" * 300]), ("stop", "\ud800"), ("logprobs", 1),
        ("top_logprobs", 21), ("top_logprobs", 3), ("stream", "yes"), ("stream_options", []), ("model", 5),
        ("frequency_penalty", 0.5), ("tools", [{}]), ("response_format", {"type": "json_object"}),
        ("logit_bias", {"1": 5}), ("tempurature", 1), ("messages", []), ("messages", "hi"), ("messages", [1]),
        ("messages", [{"role": "tool", "content": "x"}]), ("messages", [{"role": ["user"], "content": "x"}]),
        ("messages", [{"role": "user", "content": ""}]), ("messages", [{"role": "user", "content": None}]),
        ("messages", [{"role": "user", "content": [{"type": {}}]}]),
        ("messages", [{"role": "user", "content": [{"type": "input_audio"}]}]),
        ("messages", [{"role": "user", "content": "\udfff"}]), ("messages", [{"role": "assistant", "content": "x"}]),
        ("messages", [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]),
        ("messages", [{"role": "system", "content": [{"type": "image_url", "image_url": {"url": "data:,"}}]}]),
        ("messages", [{"role": "user", "content": "x"}] * 2000),
    ],
)  # fmt: skip
def test_what_is_not_allowed_names_its_field(field, value):
    error = _refused(**{field: value})
    assert error.status == 400 and field in error.message and error.body()["error"]["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"messages": NaN}', b'{"n": 1e999}', b"[" * 100_000, b"9" * 10_000,
     b'{"messages": [{"role": "user", "content": "\xed\xa0\x80"}]}'],
    ids=range(10),
)  # fmt: skip
def test_what_is_no_json_is_refused(body):
    with pytest.raises(ApiError) as error:
        chat_requests.parse(body)
    assert error.value.status == 400


def test_fields_that_ask_for_nothing_are_taken():
    _parse(frequency_penalty=0, presence_penalty=0.0, logit_bias=None, tools=None, user="me", stop=None, seed=None)
    _parse(response_format={"type": "text"}, max_tokens=None, top_k=-1)


def test_mutants_are_answered_or_refused_and_tell_nothing_of_the_machine():
    number = random.Random(0)
    picture = {"type": "image_url", "image_url": {"url": tiny_server.url(tiny_assistant.png(1))}}
    whole = json.dumps(
        {"messages": [{"role": "user", "content": [picture, {"type": "text", "text": "hi"}]}], "n": 2, "stop": ["x"]}
    ).encode()
    told = re.compile(r'0x[0-9a-f]{6,}|/home/|/work/|File "|Traceback')
    for _ in range(2_000):
        mutant = bytearray(whole)
        for _ in range(number.randint(1, 8)):
            place = number.randrange(len(mutant))
            mutant[place : place + number.randint(0, 4)] = number.randbytes(number.randint(0, 4))
        try:
            chat_requests.parse(bytes(mutant))
        except ApiError as error:
            assert 400 <= error.status < 500 and not told.search(error.message)
