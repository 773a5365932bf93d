"""The client without a network: how often it asks again, how long it waits, and when it gives up altogether."""

import threading
import time

import pytest

from m3it_jax import errors
from m3it_jax.llm_client import Answer, Cache, Client, Failure, Kind, Limits, Request, Tokens
from m3it_jax.llm_client import client as client_lib
from m3it_jax.llm_client.exchange import UnansweredError

ANSWER = Answer("hi", "stop", Tokens(3, 4))


@pytest.fixture
def client(tmp_path, monkeypatch) -> Client:
    """A client whose pauses are noted in `pauses` and last no time."""
    made = Client("http://127.0.0.1:9", Cache(tmp_path), Limits(concurrency=2))
    made.pauses = []
    monkeypatch.setattr(client_lib.random, "uniform", lambda low, high: high)
    monkeypatch.setattr(made._stop, "wait", lambda seconds=None: made.pauses.append(seconds))
    monkeypatch.setattr(made._gate, "wait", lambda stop: None)
    return made


def asked(client: Client, number: int = 1):
    requests = ((one, Request("toy", (("user", str(one)),), {"max_tokens": 9})) for one in range(number))
    return [answer for _, answer in client.answers(requests)]


def always(client: Client, monkeypatch, problem: Exception, *, reached: bool) -> list[int]:
    calls: list[int] = []

    def exchange(data, most):
        calls.append(1)
        client._endpoint.reached = reached
        raise problem

    monkeypatch.setattr(client._endpoint, "exchange", exchange)
    return calls


def test_an_endpoint_that_answers_at_all_is_asked_eight_times_with_doubled_waits(client, monkeypatch) -> None:
    calls = always(client, monkeypatch, UnansweredError("HTTP 500"), reached=True)
    assert asked(client) == [Failure(Kind.FAILED, "HTTP 500")]
    assert len(calls) == client.sent == 8 and client.spent == Tokens()
    assert client.pauses == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0]  # a minute at most


def test_what_never_answered_is_given_up_after_three(client, monkeypatch) -> None:
    calls = always(client, monkeypatch, UnansweredError("cannot be reached"), reached=False)
    with pytest.raises(errors.UserError, match=r"1 requests in a row got no answer \(cannot be reached\)"):
        asked(client)
    assert len(calls) == 3 and client.pauses == [1.0, 2.0]


def test_exchanges_that_may_have_been_billed_are_counted_at_their_most(client, monkeypatch) -> None:
    always(client, monkeypatch, UnansweredError("took too long", billed=True), reached=True)
    asked(client)
    assert client.spent == Tokens(8 * (1 + 16), 8 * 9)  # a byte, what a template adds, and the bound on the answer


def test_an_overloaded_endpoint_holds_all_back_for_as_long_as_it_says(client, monkeypatch) -> None:
    held: list[float] = []
    monkeypatch.setattr(client._gate, "hold", held.append)
    always(client, monkeypatch, UnansweredError("HTTP 429", overloaded=True, wait=600.0), reached=True)
    assert asked(client) == [Failure(Kind.FAILED, "HTTP 429")] and held == [600.0] * 7
    held.clear()
    always(client, monkeypatch, UnansweredError("HTTP 429", overloaded=True), reached=True)
    asked(client)
    assert held == [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 60.0] and client.pauses == []
    always(client, monkeypatch, UnansweredError("HTTP 429", overloaded=True, wait=600.5), reached=True)
    assert asked(client)[0].text == "HTTP 429; asks to wait 600 s"


@pytest.mark.parametrize("failures", [19, 20])
def test_twenty_failures_in_a_row_stop_the_run_and_nineteen_do_not(client, monkeypatch, failures: int) -> None:
    client._endpoint.reached = True
    monkeypatch.setattr(client, "_ask", lambda request: Failure(Kind.REFUSED, "HTTP 400"))
    for number in range(failures):
        client._answer(Request("toy", (("user", str(number)),), {}))
    last = Failure(Kind.REFUSED, "HTTP 400")
    if failures < 20:
        assert client._checked(last) == last
    else:
        with pytest.raises(errors.UserError, match="20 requests in a row got no answer"):
            client._checked(last)
    monkeypatch.setattr(client, "_ask", lambda request: ANSWER)
    client._answer(Request("toy", (("user", "good"),), {}))
    assert client._failed_in_a_row == 0


def test_leaving_early_waits_for_what_is_under_way(tmp_path, monkeypatch) -> None:
    client = Client("http://127.0.0.1:9", Cache(tmp_path), Limits(concurrency=2))
    begun, ended = threading.Event(), []

    def exchange(data, most):
        if b'"0"' not in data:
            begun.set()
            time.sleep(0.2)
        ended.append(data)
        return ANSWER

    monkeypatch.setattr(client._endpoint, "exchange", exchange)
    stream = client.answers((one, Request("toy", (("user", str(one)),), {})) for one in range(100))
    next(stream)
    assert begun.wait(10.0)
    stream.close()
    sent = client.sent
    assert len(ended) == sent == len(list(tmp_path.rglob("*.json"))) < 30


def test_no_more_are_taken_in_advance_than_eight_for_each_under_way(tmp_path, monkeypatch) -> None:
    client, taken = Client("http://127.0.0.1:9", Cache(tmp_path), Limits(concurrency=2)), []
    monkeypatch.setattr(client._endpoint, "exchange", lambda data, most: ANSWER)

    def requests():
        for one in range(100):
            taken.append(one)
            yield one, Request("toy", (("user", str(one)),), {})

    stream = client.answers(requests())
    next(stream)
    assert len(taken) == 16
    stream.close()
