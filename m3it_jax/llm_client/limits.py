"""How fast and how much may be asked: the limits, the budget that keeps to them, and the gate before each request."""

import dataclasses
import threading
import time

from m3it_jax.llm_client.answers import Tokens

_POLL_S = 0.2


@dataclasses.dataclass(frozen=True)
class Limits:
    """How fast and how much may be asked.

    Attributes:
      concurrency: Most requests under way at once.
      requests_per_minute: Most requests begun in a minute, repeated ones included; None for no limit.
      max_tokens: Most tokens that one client may use; answers from the cache cost nothing. None for no limit.
      max_cost: The same in the currency of `prices`.
      prices: Of a million tokens of requests and of answers.
      timeout_s: Seconds until a request is given up and asked again.
    """

    concurrency: int = 8
    requests_per_minute: float | None = None
    max_tokens: int | None = None
    max_cost: float | None = None
    prices: tuple[float, float] = (0.0, 0.0)
    timeout_s: float = 300.0

    def cost(self, tokens: Tokens) -> float:
        """Returns what tokens cost."""
        return (tokens.prompt * self.prices[0] + tokens.answer * self.prices[1]) / 1e6


class Budget:
    """What requests have cost, and what those under way may cost at most.

    Attributes:
      spent: Tokens of the requests that have ended.
    """

    def __init__(self, limits: Limits):
        self._limits = limits
        self._changed = threading.Condition()
        self._reserved = Tokens()
        self._under_way = 0
        self.spent = Tokens()

    def reserve(self, most: Tokens, stop: threading.Event) -> bool:
        """Returns whether a request may be sent; waits while those under way may still leave enough for it."""
        with self._changed:
            while not self._fits(self.spent + self._reserved + most):
                if not self._under_way or stop.is_set():
                    return False
                self._changed.wait(_POLL_S)
            self._reserved += most
            self._under_way += 1
            return True

    def settle(self, most: Tokens, used: Tokens) -> None:
        """Puts what was used in the place of what was reserved."""
        with self._changed:
            self._reserved -= most
            self._under_way -= 1
            self.spent += used
            self._changed.notify_all()

    def said(self) -> str:
        """Returns how much is spent, in words."""
        cost = f", a cost of {self._limits.cost(self.spent):.4f}," if any(self._limits.prices) else ""
        return f"{self.spent.total()} tokens{cost} are spent"

    def _fits(self, tokens: Tokens) -> bool:
        most, limits = self._limits.max_tokens, self._limits
        within = most is None or tokens.total() <= most
        return within and (limits.max_cost is None or limits.cost(tokens) <= limits.max_cost)


class Gate:
    """Lets requests through at even distances in time, and none while the endpoint wants to be left alone."""

    def __init__(self, per_minute: float | None):
        self._distance = 60 / per_minute if per_minute else 0.0
        self._next = time.monotonic()
        self._lock = threading.Lock()

    def wait(self, stop: threading.Event) -> None:
        """Returns when the next request may begin, or when all is to stop."""
        with self._lock:
            begin = max(time.monotonic(), self._next)
            self._next = begin + self._distance
        stop.wait(begin - time.monotonic())

    def hold(self, seconds: float) -> None:
        """Lets nothing through for so long."""
        with self._lock:
            self._next = max(self._next, time.monotonic() + seconds)
