"""Budget and gate by themselves: who waits is let go as soon as there is room."""

import threading
import time

import pytest

from m3it_jax.llm_client import Limits, Tokens, limits


def test_without_a_word_eight_at_once_each_for_five_minutes_and_no_bound() -> None:
    assert Limits() == Limits(8, None, None, None, (0.0, 0.0), 300.0)


def test_who_waits_for_a_budget_goes_on_as_soon_as_there_is_room(monkeypatch) -> None:
    monkeypatch.setattr(limits, "_POLL_S", 60.0)
    budget, stop, granted = limits.Budget(Limits(max_tokens=100)), threading.Event(), []
    assert budget.reserve(Tokens(50, 30), stop)
    waiting = threading.Thread(target=lambda: granted.append(budget.reserve(Tokens(20, 10), stop)))
    waiting.start()
    time.sleep(0.05)
    assert granted == []
    budget.settle(Tokens(50, 30), Tokens(50, 20))
    waiting.join(10.0)
    assert granted == [True] and budget.spent == Tokens(50, 20)
    budget.settle(Tokens(20, 10), Tokens(20, 10))
    assert budget.spent == Tokens(70, 30) and budget.said() == "100 tokens are spent"
    assert not budget.reserve(Tokens(1, 0), stop), "nobody is under way who could leave room"
    assert budget.reserve(Tokens(), stop)


@pytest.mark.parametrize(("max_cost", "fits"), [(0.0039, False), (0.0041, True), (None, True)])
def test_a_cost_is_of_a_million_tokens(max_cost, fits: bool) -> None:
    own = Limits(max_cost=max_cost, prices=(2.0, 4.0))
    assert own.cost(Tokens(1000, 500)) == pytest.approx(0.004)
    budget = limits.Budget(own)
    assert budget.reserve(Tokens(1000, 500), threading.Event()) is fits
    if fits:
        budget.settle(Tokens(1000, 500), Tokens(500, 250))
        assert budget.said() == "750 tokens, a cost of 0.0020, are spent"


class Noted(threading.Event):
    """Notes how long it is waited for, and does not wait."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float] = []

    def wait(self, timeout=None) -> bool:
        self.waits.append(timeout)
        return False


def test_a_gate_spaces_requests_and_holds_all_back(monkeypatch) -> None:
    now = [10.0]
    monkeypatch.setattr(limits.time, "monotonic", lambda: now[0])
    gate, stop = limits.Gate(30), Noted()  # each two seconds
    for _ in range(3):
        gate.wait(stop)
    now[0] = 20.0
    gate.wait(stop)
    gate.hold(7.0)
    gate.hold(3.0)  # the longer one holds
    gate.wait(stop)
    gate.wait(stop)
    assert stop.waits == [0.0, 2.0, 4.0, 0.0, 7.0, 9.0]
    free, stop = limits.Gate(None), Noted()
    for _ in range(3):
        free.wait(stop)
    assert stop.waits == [0.0] * 3
