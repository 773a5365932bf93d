import base64
import concurrent.futures
import json
import os
import pathlib
import random
import re
import resource
import threading
import time

import openai
import pytest
import tiny_assistant
import tiny_server
from tiny_server import KEY, messages

from m3it_jax.serving import chat_requests
from m3it_jax.serving.app import Service

LONG = bool(os.environ.get("M3IT_LONG"))


@pytest.fixture(scope="module")
def server():
    with tiny_server.running() as running:
        yield running


@pytest.fixture(scope="module")
def client(server):
    with openai.OpenAI(base_url=f"{server.url}/v1", api_key=KEY, max_retries=0, timeout=60) as made:
        yield made


PLAIN = {"model": "tiny", "temperature": 0, "max_tokens": 10}


def test_the_openai_client_gets_the_answer_of_generate(client, server):
    assistant, picture = tiny_assistant.make(), tiny_assistant.png(3)
    found = client.chat.completions.create(messages=messages("What colour?", picture), **PLAIN)
    wanted = assistant.generate("What colour?", images=[picture], max_new_tokens=10)
    assert found.choices[0].message.content == wanted and found.object == "chat.completion"
    assert found.choices[0].finish_reason in ("stop", "length") and found.model == "tiny"
    assert found.usage.completion_tokens <= 10
    assert found.usage.total_tokens == found.usage.prompt_tokens + found.usage.completion_tokens
    assert [model.id for model in client.models.list()] == ["tiny"]
    assert client.models.retrieve("tiny").id == "tiny"


def test_a_stream_has_the_same_text_and_ends_with_its_usage(client):
    asked = {"messages": messages("left or right", tiny_assistant.png(3), tiny_assistant.png(4)), **PLAIN}
    whole = client.chat.completions.create(**asked)
    parts = list(client.chat.completions.create(**asked, stream=True, stream_options={"include_usage": True}))
    assert parts[0].choices[0].delta.role == "assistant"
    pieces = [part.choices[0].delta.content or "" for part in parts if part.choices]
    assert "".join(pieces) == whole.choices[0].message.content
    assert [part.choices[0].finish_reason for part in parts if part.choices][-1] == whole.choices[0].finish_reason
    assert parts[-1].choices == [] and parts[-1].usage.completion_tokens == whole.usage.completion_tokens
    assert len({part.id for part in parts}) == 1


def test_several_choices_seeds_and_stops(client):
    asked = {"messages": messages("a circle"), "model": "tiny", "max_tokens": 8}
    drawn = client.chat.completions.create(**asked, n=3, seed=5, temperature=1.5)
    assert [choice.index for choice in drawn.choices] == [0, 1, 2]
    texts = [choice.message.content for choice in drawn.choices]
    assert len(set(texts)) > 1
    again = client.chat.completions.create(**asked, n=3, seed=5, temperature=1.5)
    assert [choice.message.content for choice in again.choices] == texts
    greedy = client.chat.completions.create(**asked, temperature=0).choices[0].message.content
    stop = greedy[len(greedy) // 2 :][:2]
    cut = client.chat.completions.create(**asked, temperature=0, stop=stop).choices[0]
    assert cut.finish_reason == "stop" and cut.message.content == greedy.split(stop)[0].rstrip()
    streamed = client.chat.completions.create(**asked, n=2, temperature=0, stream=True)
    said = {0: "", 1: ""}
    for part in streamed:
        said[part.choices[0].index] += part.choices[0].delta.content or ""
    assert set(said.values()) == {greedy}


def test_log_probabilities(client):
    asked = {"messages": messages("a circle"), "logprobs": True, "top_logprobs": 3, **PLAIN}
    found = client.chat.completions.create(**asked).choices[0].logprobs.content
    assert len(found) == 10 and all(len(token.top_logprobs) == 3 for token in found)
    assert all(token.logprob <= 0 and token.token == token.top_logprobs[0].token for token in found)
    assert all(bytes(token.bytes).decode("utf-8", "replace") == token.token for token in found if token.bytes)
    parts = client.chat.completions.create(**asked, stream=True)
    streamed = [
        token for part in parts for token in (part.choices[0].logprobs.content if part.choices[0].logprobs else [])
    ]
    assert [(token.token, token.logprob) for token in streamed] == [(token.token, token.logprob) for token in found]


def test_a_conversation_is_asked_as_the_family_asks(client, server):
    said = [
        {"role": "system", "content": "Be short."},
        *messages("What is it?", tiny_assistant.png(1)),
        {"role": "assistant", "content": "a circle"},
        {"role": "user", "content": "Which colour?"},
    ]
    found = client.chat.completions.create(messages=said, **PLAIN)
    wanted = tiny_assistant.make().generate(
        "Which colour?",
        images=[tiny_assistant.png(1)],
        turns=[{"instruction": "What is it?", "outputs": "a circle", "new_pictures": 1}],
        system="Be short.",
        max_new_tokens=10,
    )
    assert found.choices[0].message.content == wanted


def test_answers_are_the_same_bits_beside_others_and_nothing_is_compiled(client, server, lowered):
    asked = [
        {"messages": messages(f"{'word ' * number}?", tiny_assistant.png(number)), **PLAIN} for number in range(10)
    ]
    alone = [client.chat.completions.create(**one).choices[0].message.content for one in asked]
    with concurrent.futures.ThreadPoolExecutor(10) as pool:
        together = list(pool.map(lambda one: client.chat.completions.create(**one).choices[0].message.content, asked))
    assert together == alone and lowered == []


def test_beyond_the_queue_there_is_429_and_when_to_come_again(server):
    release, engine = threading.Event(), server.service.engine
    engine._inbox.put(release.wait)  # the scheduler's thread does nothing meanwhile
    body = {"messages": messages(), "max_tokens": 2}
    try:
        with concurrent.futures.ThreadPoolExecutor(16) as pool:
            waiting = [pool.submit(server.ask, "/v1/chat/completions", body) for _ in range(engine.most_pending)]
            deadline = time.monotonic() + 20
            while engine.num_pending < engine.most_pending and time.monotonic() < deadline:
                time.sleep(0.01)
            status, headers, answer = server.ask("/v1/chat/completions", body)
            assert status == 429 and int(headers["retry-after"]) >= 1
            assert json.loads(answer)["error"]["type"] == "rate_limit_error"
            release.set()
            assert {one.result()[0] for one in waiting} == {200}
    finally:
        release.set()


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_client_that_goes_frees_its_row(server, is_stream):
    body = json.dumps({"messages": messages(), "max_tokens": 400, "stream": is_stream, "temperature": 2}).encode()
    engine = server.service.engine
    for _ in range(5):
        with server.connect() as connection:
            connection.sendall(_post(body))
            _until(lambda: engine.scheduler.num_running)
            if is_stream:
                assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        _until(lambda: not engine.scheduler.num_running and not engine.num_pending, seconds=5)


def _post(body: bytes) -> bytes:
    """Returns a whole request for an answer."""
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {KEY}\r\n"
    return (head + f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n").encode() + body


def _until(condition, seconds: float = 20.0) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_every_route_but_healthz_wants_the_key(server):
    app = server.service
    routes = [
        "/",
        "/page.css",
        "/page.js",
        "/page.json",
        "/metrics",
        "/v1/models",
        "/v1/models/tiny",
        "/nothing",
        "/docs",
    ]
    routes += ["/v1/chat/completions"]
    assert isinstance(app, Service)
    for path in routes:
        for given in (
            None,
            "Bearer ",
            "Bearer wrong",
            f"Bearer {KEY}x",
            f"bearer{KEY}",
            "Basic bm90OmI2NA==",
            "Basic !",
        ):
            for method in ("GET", "POST"):
                status, headers, body = server.ask(path, method=method, headers={"Authorization": given})
                assert status == 401 and json.loads(body)["error"]["code"] == "invalid_api_key", (path, given)
        assert ("www-authenticate" in headers) == (path == "/")
    assert server.ask("/healthz", headers={"Authorization": None})[0] == 200
    basic = base64.b64encode(f"me:{KEY}".encode()).decode()
    assert server.ask("/", headers={"Authorization": f"Basic {basic}"})[0] == 200


def test_the_walked_table_has_no_other_route(server):
    # The page's address of every route that the application knows, so that a new one cannot be forgotten above.
    import m3it_jax.serving.app as app_module

    text = open(app_module.__file__, encoding="utf-8").read()
    paths = set(re.findall(r'Route\("([^"]+)"', text)) | set(app_module._FILES)
    assert paths == {
        "/v1/chat/completions",
        "/v1/models",
        "/v1/models/{name:path}",
        "/healthz",
        "/metrics",
        "/page.json",
        "/",
        "/page.css",
        "/page.js",
    }


def test_text_that_spells_the_template_or_special_tokens_stays_text(server):
    sampler = server.service.sampler
    marks = (
        "<Img>",
        "</Img>",
        "<s>",
        "</s>",
        "<unk>",
        "<0x41>",
        "<human>:",
        "<bot>:",
        "<image>",
        "###",
        "\u2581",
        "\x00",
        "\ufffd",
    )
    number = random.Random(0)
    special = (sampler.tokenizer.bos_id, sampler.tokenizer.eos_id)
    for _ in range(10_000 if LONG else 300):
        text = "".join(
            number.choice((*marks, "a", " circle", "\n", chr(number.randrange(1, 0xD800)))) for _ in range(12)
        )
        body = {"messages": [{"role": "user", "content": f"x{text}"}], "max_tokens": 1}
        (prepared,) = server.service._prepare(chat_requests.parse(json.dumps(body).encode()))
        plain = {"messages": [{"role": "user", "content": "x"}], "max_tokens": 1}
        (wanted,) = server.service._prepare(chat_requests.parse(json.dumps(plain).encode()))
        count = {index: int((prepared.row["token_ids"] == index).sum()) for index in special}
        assert count == {index: int((wanted.row["token_ids"] == index).sum()) for index in special}, text
        assert (prepared.row["image_token_index"] < 0).all(), "no text stands for a picture"
    status, _, _ = server.ask("/v1/chat/completions", {**body, "temperature": 0})
    assert status == 200


@pytest.mark.skipif(not LONG, reason="M3IT_LONG=1 runs it: minutes")
def test_ten_thousand_requests_leave_the_memory_as_it_was(server):
    def ask(place: int) -> int:
        body = {"messages": messages("a circle", tiny_assistant.png(place % 50)), "max_tokens": 2, "temperature": 0}
        return server.ask("/v1/chat/completions", body)[0]

    def resident() -> int:
        return int(pathlib.Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()

    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        assert set(pool.map(ask, range(1_000))) == {200}
        before = resident()
        assert set(pool.map(ask, range(10_000))) == {200}
    assert resident() < before * 1.05


@pytest.mark.skipif(not LONG, reason="M3IT_LONG=1 runs it: minutes")
def test_a_thousand_clients_that_go_leave_no_row_taken(server):
    body = json.dumps({"messages": messages(), "max_tokens": 400, "stream": True, "temperature": 2}).encode()
    engine = server.service.engine
    for _ in range(1_000):
        with server.connect() as connection:
            connection.sendall(_post(body))
            assert connection.recv(1000).startswith(b"HTTP/1.1 200")
        _until(lambda: not engine.scheduler.num_running and not engine.num_pending, seconds=5)


def test_metrics_are_what_prometheus_reads(server, client):
    client.chat.completions.create(messages=messages(), **PLAIN)
    status, headers, body = server.ask("/metrics")
    assert status == 200 and headers["content-type"].startswith("text/plain; version=0.0.4")
    lines = body.decode().splitlines()
    pattern = re.compile(r'[a-z0-9_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? [-+0-9.e]+|# (HELP|TYPE) .+')
    assert all(pattern.fullmatch(line) for line in lines)
    counts = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert int(counts["m3it_first_token_seconds_count"]) >= 1
    assert int(counts["m3it_new_tokens_total"]) >= 10 and int(counts["m3it_prompt_tokens_total"]) > 10


def test_a_failure_of_the_device_is_told_and_the_next_request_is_answered(server, client, monkeypatch, capfd):
    scheduler = server.service.engine.scheduler

    def fail():
        scheduler._admit()
        monkeypatch.undo()
        raise RuntimeError("RESOURCE_EXHAUSTED at 0x7f0011223344 in /home/me/secret.py")

    before = client.chat.completions.create(messages=messages(), **PLAIN).choices[0].message.content
    monkeypatch.setattr(scheduler, "step", fail)
    with pytest.raises(openai.InternalServerError) as error:
        client.chat.completions.create(messages=messages(), **PLAIN)
    assert "secret" not in str(error.value) and "0x7f" not in str(error.value)
    assert client.chat.completions.create(messages=messages(), **PLAIN).choices[0].message.content == before
    assert "RESOURCE_EXHAUSTED" in capfd.readouterr().err


def test_what_harnesses_send_is_taken(server):
    # lmms-eval models/chat/openai.py and VLMEvalKit vlmeval/api/gpt.py, as their requests stand on the wire.
    lmms_eval = {
        "model": "tiny",
        "max_tokens": 1024,
        "temperature": 0,
        "top_p": None,
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "image_url", "image_url": {"url": tiny_server.url(tiny_assistant.png(1), "image/png")}},
                    {"type": "text", "text": "What colour?"},
                ],
            }
        ],
    }
    vlmevalkit = {
        "model": "tiny",
        "max_tokens": 2048,
        "n": 1,
        "temperature": 0,
        "messages": [
            {"role": "system", "content": "Answer with one word."},
            {
                "role": "user",
                "content": [
                    {"type": "text", "text": "What colour?"},
                    {
                        "type": "image_url",
                        "image_url": {
                            "url": tiny_server.url(tiny_assistant.png(1), "image/jpeg"),
                            "detail": "low",
                        },
                    },
                ],
            },
        ],
    }
    for body in (lmms_eval, vlmevalkit):
        status, _, reply = server.ask("/v1/chat/completions", body)
        assert status == 200, reply
        assert isinstance(json.loads(reply)["choices"][0]["message"]["content"], str)
