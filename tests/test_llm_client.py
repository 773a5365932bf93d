import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
import time

import pytest
from fake_endpoint import completion

from m3it_jax import errors, llm_client
from m3it_jax.llm_client import Answer, Cache, Client, Failure, Kind, Limits, Request, Tokens, exchange
from m3it_jax.llm_client import client as client_lib

SAMPLING = {"max_tokens": 20}


def request(text="hello", **sampling):
    return Request("toy", (("user", text),), SAMPLING | sampling)


def asked(client, *texts):
    return [answer for _, answer in client.answers((text, request(text)) for text in texts)]


def echo(body, number):
    return "said " + body["messages"][0]["content"]


@pytest.fixture(autouse=True)
def short_waits(monkeypatch):
    monkeypatch.setattr(client_lib, "_FIRST_WAIT_S", 0.01)
    monkeypatch.delenv(llm_client.KEY_VARIABLE, raising=False)


def made(fake, folder, **limits):
    return Client(fake.url, Cache(folder), Limits(**limits))


def test_answers_come_in_the_order_of_the_requests(endpoint, tmp_path):
    def slow_first(body, number):
        time.sleep(0.2 if body["messages"][0]["content"] == "0" else 0)
        return echo(body, number)

    fake = endpoint(slow_first)
    client = made(fake, tmp_path)
    texts = [str(number) for number in range(200)]
    assert [answer.text for answer in asked(client, *texts)] == [f"said {text}" for text in texts]
    assert {"model": "toy", "messages": [{"role": "user", "content": "0"}], "max_tokens": 20} in fake.bodies
    assert client.spent == Tokens(2000, 1000) and client.sent == 200 and client.from_cache == 0


def test_what_was_answered_is_never_asked_again(endpoint, tmp_path):
    fake = endpoint(echo)
    assert asked(made(fake, tmp_path), "a", "b") == asked(made(fake, tmp_path), "a", "b")
    assert len(fake.bodies) == 2
    assert [answer.text for _, answer in made(fake, tmp_path).answers([(0, request("a", seed=1))])] == ["said a"]
    assert len(fake.bodies) == 3  # other sampling is another request


def test_the_key_of_an_answer_follows_all_that_is_asked():
    """Model, each message's role and words, their order, each field of the sampling; and nothing else."""
    talk = (("system", "be brief"), ("user", "hello"))
    requests = [
        Request("toy", talk, SAMPLING),
        Request("toy-2", talk, SAMPLING),
        Request("", talk, SAMPLING),
        Request("toy", talk[1:], SAMPLING),
        Request("toy", talk[::-1], SAMPLING),
        Request("toy", (("user", "be brief"), ("user", "hello")), SAMPLING),
        Request("toy", (("system", "be brief"), ("user", "hello ")), SAMPLING),
        Request("toy", (("system", "be brief"), ("user", "Hello")), SAMPLING),
        Request("toy", talk, SAMPLING | {"max_tokens": 21}),
        Request("toy", talk, SAMPLING | {"seed": 0}),
        Request("toy", talk, SAMPLING | {"temperature": 0.5}),
        Request("toy", talk, {}),
    ]
    assert len({request.key for request in requests}) == len(requests)
    same = Request("toy", tuple(talk), {**SAMPLING, "top_p": 1})
    assert same.key == Request("toy", talk, {"top_p": 1, **SAMPLING}).key


def test_two_models_never_share_an_answer(endpoint, tmp_path):
    fake = endpoint(lambda body, number: f"{body['model']} speaking")
    asked_of = [Request(model, (("user", "who?"),), SAMPLING) for model in ("one", "other", "one")]
    said = [answer.text for _, answer in made(fake, tmp_path).answers(enumerate(asked_of))]
    assert said == ["one speaking", "other speaking", "one speaking"] and len(fake.bodies) == 2


def test_the_same_request_under_way_is_sent_once(endpoint, tmp_path):
    fake = endpoint(lambda body, number: time.sleep(0.1) or echo(body, number))
    assert len(asked(made(fake, tmp_path), *["same"] * 20)) == 20
    assert len(fake.bodies) == 1


def test_no_more_are_under_way_than_allowed(endpoint, tmp_path):
    fake = endpoint(lambda body, number: time.sleep(0.03) or "x")
    asked(made(fake, tmp_path, concurrency=3), *map(str, range(30)))
    assert fake.most_at_once == 3


def test_requests_keep_to_the_rate(endpoint, tmp_path):
    fake = endpoint(echo)
    asked(made(fake, tmp_path, requests_per_minute=1200), *map(str, range(12)))
    gaps = [after - before for before, after in zip(fake.times, fake.times[1:], strict=False)]
    assert sum(gaps) >= 11 * 0.05 - 0.02  # a twentieth of a second apart


@pytest.mark.parametrize(
    "trouble",
    [
        (500, {}, b"oops"),
        (429, {"Retry-After": "0"}, b"slow down"),
        (429, {}, b"slow down"),
        (200, {}, b"no json"),
        (200, {}, b"[" * 100_000),
        (200, {}, b"{}"),
        (200, {}, b'{"choices": [{"message": {"content": 7}}]}'),
        (200, {"Content-Length": 9999}, b'{"choices'),
        completion(["part"]),
    ],
    ids=["500", "429", "429-bare", "garbage", "deep", "empty", "number", "cut", "parts"],
)
def test_what_fails_for_a_moment_is_asked_again(endpoint, tmp_path, trouble):
    fake = endpoint(lambda body, number: trouble if number < 2 else "at last")
    client = made(fake, tmp_path, timeout_s=2)
    (answer,) = asked(client, "a")
    assert answer == Answer("at last", "stop", Tokens(10, 5)) and client.sent == 3


def test_retry_after_is_waited_for_by_all(endpoint, tmp_path):
    fake = endpoint(lambda body, number: (429, {"Retry-After": "1"}, b"") if number == 0 else "x")
    asked(made(fake, tmp_path, concurrency=1), "a", "b")
    assert fake.times[1] - fake.times[0] >= 0.95


def test_retry_after_may_be_a_date_and_may_be_nonsense():
    assert exchange._retry_after("7") == 7
    assert exchange._retry_after("Thu, 01 Jan 1970 00:00:00 GMT") == 0
    assert 30 < exchange._retry_after(time.strftime("%a, %d %b %Y %H:%M:%S GMT", time.gmtime(time.time() + 60))) < 61
    assert [exchange._retry_after(text) for text in ("", "soon", "nan", "inf", "-5")] == [None, None, None, None, 0]


def test_who_is_told_to_wait_for_hours_gives_up(endpoint, tmp_path):
    fake = endpoint(lambda body, number: (429, {"Retry-After": "7200"}, b"quota"))
    (failure,) = asked(made(fake, tmp_path), "a")
    assert failure.kind is Kind.FAILED and "HTTP 429 quota" in failure.text and "7200 s" in failure.text


def test_a_response_that_is_too_large_is_not_taken_in(endpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(exchange, "MAX_RESPONSE_BYTES", 100_000)
    fake = endpoint(lambda body, number: completion("x" * 300_000) if number == 0 else "small")
    assert asked(made(fake, tmp_path), "a")[0].text == "small"
    fake.reply = lambda body, number: completion("x" * 300_000)
    (failure,) = asked(made(fake, tmp_path), "b")
    assert failure == Failure(Kind.FAILED, "answers with more than 100000 bytes")


def test_a_slow_endpoint_is_given_up_and_counted_as_billed(endpoint, tmp_path):
    fake = endpoint(lambda body, number: time.sleep(0.6 if number == 0 else 0) or "x")
    client = made(fake, tmp_path, timeout_s=0.2)
    assert asked(client, "a")[0].text == "x"
    assert client.spent == Tokens(10, 5) + Tokens(len("a") + 16, 20)


def test_a_body_that_trickles_is_given_up(endpoint, tmp_path, monkeypatch):
    monkeypatch.setattr(client_lib, "_ATTEMPTS", 1)

    fake = endpoint(echo)
    handler = fake._server.RequestHandlerClass

    def trickle(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Length", "1000")
        self.end_headers()
        for _ in range(30):
            self.wfile.write(b" ")
            time.sleep(0.05)

    monkeypatch.setattr(handler, "do_POST", trickle)
    begin = time.monotonic()
    (failure,) = asked(made(fake, tmp_path, timeout_s=0.3), "a")
    assert failure == Failure(Kind.FAILED, "took too long to answer") and time.monotonic() - begin < 1.2


def test_one_request_that_is_refused_stops_nothing_and_is_not_repeated(endpoint, tmp_path):
    def reply(body, number):
        text = body["messages"][0]["content"]
        return (400, {}, b"\x1b[31mcontent \xff filter\n") if text == "bad" else "fine"

    fake = endpoint(reply)
    good, bad, last = asked(made(fake, tmp_path), "a", "bad", "c")
    assert good.text == last.text == "fine" and len(fake.bodies) == 3
    assert bad.kind is Kind.REFUSED and bad.text == "HTTP 400 [31mcontent \ufffd filter"


def test_many_failures_in_a_row_stop_the_run_and_keep_what_was_answered(endpoint, tmp_path):
    def reply(body, number):
        return "fine" if int(body["messages"][0]["content"]) < 5 else (400, {}, b"no such field")

    fake = endpoint(reply)
    client = made(fake, tmp_path, concurrency=2)
    with pytest.raises(errors.UserError, match=r"in a row got no answer \(HTTP 400 no such field\)"):
        asked(client, *map(str, range(1000)))
    assert len(fake.bodies) < 60
    fake.reply = lambda body, number: "fine"
    again = made(fake, tmp_path)
    asked(again, *map(str, range(5)))
    assert again.from_cache == 5


@pytest.mark.parametrize(
    ("status", "headers", "words"),
    [
        (401, {}, "M3IT_API_KEY"),
        (404, {}, "a model it has"),
        (307, {"Location": "http://127.0.0.2:1/steal"}, "redirects to http://127.0.0.2:1/steal"),
    ],
)
def test_what_will_never_work_stops_at_once(endpoint, tmp_path, status, headers, words):
    fake = endpoint(lambda body, number: (status, headers, b"no"))
    with pytest.raises(errors.UserError, match=words):
        asked(made(fake, tmp_path, concurrency=1), *map(str, range(100)))
    assert len(fake.bodies) <= 3


def test_an_endpoint_that_is_not_there_is_told_soon(tmp_path):
    with pytest.raises(errors.UserError, match="cannot be reached"):
        asked(Client("http://127.0.0.1:9/v1", Cache(tmp_path), Limits()), *map(str, range(100)))


def test_a_budget_is_never_exceeded_and_what_was_answered_stays(endpoint, tmp_path):
    fake = endpoint(lambda body, number: time.sleep(0.01) or completion("x", answer_tokens=20, prompt_tokens=17))
    client = made(fake, tmp_path, concurrency=8, max_tokens=400)
    results = asked(client, *"abcdefghijklmnopqrstuvwxyz")
    answered = [result for result in results if isinstance(result, Answer)]
    assert len(answered) == 10 and client.spent.total() == 370
    left = [result for result in results if isinstance(result, Failure)]
    assert {failure.kind for failure in left} == {Kind.BUDGET} and "may take 37 tokens, and 370" in left[0].text
    more = made(fake, tmp_path, max_tokens=4000)
    assert all(isinstance(result, Answer) for result in asked(more, *"abcdefghijklmnopqrstuvwxyz"))
    assert len(fake.bodies) == 26 and more.spent.total() == 16 * 37  # what is in the cache costs nothing


def test_a_cost_limit_counts_both_kinds_of_tokens(endpoint, tmp_path):
    fake = endpoint(lambda body, number: completion("x", prompt_tokens=17, answer_tokens=20))
    client = made(fake, tmp_path, max_cost=0.5, prices=(1000.0, 10_000.0), concurrency=1)
    results = asked(client, *"abcde")
    assert [type(result) for result in results] == [Answer] * 2 + [Failure] * 3  # each takes 0.217
    assert Limits(prices=(1000.0, 10_000.0)).cost(client.spent) == pytest.approx(0.434)


def test_a_budget_needs_a_bound_on_the_answer(endpoint, tmp_path):
    client = made(endpoint(echo), tmp_path, max_tokens=100)
    with pytest.raises(errors.ConfigError, match="max_tokens or max_completion_tokens"):
        list(client.answers([(0, Request("toy", (("user", "a"),), {}))]))


def test_without_a_word_on_usage_the_most_is_counted(endpoint, tmp_path):
    fake = endpoint(lambda body, number: {"choices": completion("x")["choices"], "usage": {"prompt_tokens": -3}})
    assert asked(made(fake, tmp_path), "ab")[0].tokens == Tokens(18, 20)


def test_the_key_goes_into_the_header_and_nowhere_else(endpoint, tmp_path, monkeypatch, capfd):
    key = "sk-very-secret-1234"
    monkeypatch.setenv(llm_client.KEY_VARIABLE, key)

    def reply(body, number):
        text = body["messages"][0]["content"]
        return (400, {}, f"wrong key {key}".encode()) if text == "bad" else f"you sent {key}"

    fake = endpoint(reply)
    results = asked(made(fake, tmp_path), "good", "bad")
    assert set(fake.keys) == {f"Bearer {key}"}
    assert results[0].text == "you sent [key]" and results[1].text == "HTTP 400 wrong key [key]"
    kept = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert b"you sent [key]" in kept and key.encode() not in kept
    assert key not in "".join(capfd.readouterr()) + repr(results)


def test_a_key_with_a_line_break_is_refused_without_being_shown(monkeypatch):
    monkeypatch.setenv(llm_client.KEY_VARIABLE, "secret\nX-Other: 1")
    with pytest.raises(errors.ConfigError) as caught:
        Client("http://127.0.0.1:9", Cache(pathlib.Path("unused")), Limits())
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ("http://127.0.0.1:8000", "http://127.0.0.1:8000/v1/chat/completions"),
        ("https://host/v1/", "https://host/v1/chat/completions"),
        ("https://host/api/openai/v1", "https://host/api/openai/v1/chat/completions"),
        ("https://host/v1/chat/completions", "https://host/v1/chat/completions"),
        ("http://[::1]:80/v1", "http://[::1]:80/v1/chat/completions"),
    ],
)
def test_addresses_may_be_given_short(given, wanted):
    assert llm_client.address(given) == wanted


@pytest.mark.parametrize(
    "given",
    ["", "host/v1", "ftp://host/v1", "file:///etc/passwd", "http://", "http://user:secret@host/v1", "http://h/?key=secret",
     "http://h/#secret", "http://h:99999/", "http://h:0/", "http://h\\@secret/", "http://h/a b", "http://[::1/"],
)  # fmt: skip
def test_other_addresses_are_refused_and_secrets_in_them_not_repeated(given):
    with pytest.raises(errors.ConfigError, match="must be http") as caught:
        llm_client.address(given)
    assert given == "http://h\\@secret/" or "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "damage",
    [b"", b"{", b"[]", b"[" * 100_000, b'{"request": {}, "answer": {}}', b"\xff"],
)
def test_a_damaged_answer_counts_as_missing(endpoint, tmp_path, damage):
    fake = endpoint(echo)
    asked(made(fake, tmp_path), "a")
    (file,) = (path for path in tmp_path.rglob("*.json"))
    file.write_bytes(damage)
    assert asked(made(fake, tmp_path), "a")[0].text == "said a" and len(fake.bodies) == 2
    assert json.loads(file.read_text())["answer"]["text"] == "said a"


def test_texts_that_are_no_utf8_are_kept(tmp_path):
    cache, answer = Cache(tmp_path), Answer("half \ud800 of a pair", "stop", Tokens(1, 2))
    cache.put(request("\udfff"), answer)
    assert cache.get(request("\udfff")) == answer


def test_many_threads_may_write_one_answer(tmp_path):
    cache, answer = Cache(tmp_path), Answer("x" * 10_000, "stop", Tokens(1, 2))
    threads = [threading.Thread(target=lambda: [cache.put(request(), answer) for _ in range(40)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        assert cache.get(request()) in (None, answer)
    assert cache.get(request()) == answer and len([path for path in tmp_path.rglob("*") if path.is_file()]) == 1


def test_leaving_early_keeps_what_was_under_way_and_asks_no_more(endpoint, tmp_path):
    fake = endpoint(lambda body, number: time.sleep(0.05) or "x")
    client = made(fake, tmp_path, concurrency=2)
    stream = client.answers((text, request(str(text))) for text in range(1000))
    next(stream)
    stream.close()
    seen = len(fake.bodies)
    assert seen < 60 and len(list(tmp_path.rglob("*.json"))) == seen


KILLED = """
import pathlib, sys
from m3it_jax.llm_client import Cache, Client, Limits, Request
url, folder = sys.argv[1:]
client = Client(url, Cache(pathlib.Path(folder)), Limits(concurrency=2))
requests = ((n, Request("toy", (("user", str(n)),), {})) for n in range(40))
print(sum(1 for _ in client.answers(requests)), client.from_cache)
"""


def test_after_kill_9_nothing_that_was_answered_is_asked_again(endpoint, tmp_path):
    fake = endpoint(lambda body, number: time.sleep(0.02) or "x")
    command = [sys.executable, "-c", KILLED, fake.url, str(tmp_path)]
    for wanted in (5, 17):
        process = subprocess.Popen(command)
        while len(fake.bodies) < wanted:
            time.sleep(0.005)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
    last = subprocess.run(command, capture_output=True, text=True, check=True)
    assert last.stdout.split()[0] == "40"
    # Two were under way at each kill: those alone may have been asked twice.
    assert len(fake.bodies) <= 40 + 2 * 2 and len({str(body["messages"]) for body in fake.bodies}) == 40
