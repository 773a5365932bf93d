"""The client: requests side by side, from the cache where it has the answer, asked again where that may help."""

import collections
import concurrent.futures
import dataclasses
import enum
import json
import random
import threading
from collections.abc import Iterable, Iterator
from typing import TypeVar

from m3it_jax import errors
from m3it_jax.llm_client.answers import Answer, Cache, Request, Tokens, is_count
from m3it_jax.llm_client.exchange import Endpoint, UnansweredError
from m3it_jax.llm_client.limits import Budget, Gate, Limits

# Fields of a request that bound its answer: the old name and the one that newer OpenAI models ask for.
ANSWER_BOUNDS = ("max_tokens", "max_completion_tokens")

# CHOICE: eight attempts and the waits between them bridge about two minutes, the restart of a model server.
_ATTEMPTS = 8
_FIRST_WAIT_S = 1.0  # doubled with each attempt
_LONGEST_WAIT_S = 60.0
# What never answered is given up sooner: a wrong address does not mend itself.
_ATTEMPTS_UNREACHED = 3
_LONGEST_RETRY_AFTER_S = 600.0  # CHOICE: who is told to wait longer does better to come back later
_STOP_AFTER = 20  # CHOICE: so many failures in a row are no matter of single requests
_AHEAD = 8  # requests taken in advance for each one under way: a slow one holds up the order, not the work
_MESSAGE_TOKENS = 16  # above what a chat template adds around one message

Tag = TypeVar("Tag")


class Kind(enum.Enum):
    """Why there is no answer."""

    REFUSED = "refused"  # the endpoint does not take this request, and would not the next time
    FAILED = "failed"  # it did not answer, however often it was asked
    BUDGET = "budget"  # asking would have gone beyond the budget


@dataclasses.dataclass(frozen=True)
class Failure:
    """A request without an answer; `text` says what happened in one line."""

    kind: Kind
    text: str


class Client:
    """Asks one endpoint.

    Attributes:
      sent: Requests sent so far, repeated ones included.
      from_cache: Answers that needed none.
    """

    def __init__(self, endpoint: str, cache: Cache, limits: Limits):
        """Takes the address, `http(s)://host[:port]/v1`; the key is read from the environment, if there is one.

        Raises:
          ConfigError: the address or the key cannot be used.
        """
        self._endpoint = Endpoint(endpoint, limits.timeout_s)
        self._cache, self._limits = cache, limits
        self._budget, self._gate = Budget(limits), Gate(limits.requests_per_minute)
        self._stop = threading.Event()
        self._lock = threading.Lock()
        self._failed_in_a_row = 0
        self.sent = self.from_cache = 0

    @property
    def spent(self) -> Tokens:
        """Tokens used so far, for answers and for requests that may have been billed without one."""
        return self._budget.spent

    @property
    def cost(self) -> float:
        """What these tokens cost by `Limits.prices`."""
        return self._limits.cost(self.spent)

    def answers(self, requests: Iterable[tuple[Tag, Request]]) -> Iterator[tuple[Tag, Answer | Failure]]:
        """Yields the answer to each request, or why there is none, in the order of the requests.

        The same request is sent once, however often it comes. Requests are taken as they are needed, so there may be
        millions. Leaving early waits for those under way, whose answers are kept.

        Raises:
          UserError: the endpoint refuses the key, does not know model or address, redirects, never answers, or fails
            for many requests in a row. What was answered before is kept.
          OSError: an answer cannot be kept.
        """
        self._stop.clear()
        pending: collections.deque[tuple[Tag, str, concurrent.futures.Future]] = collections.deque()
        under_way: dict[str, concurrent.futures.Future] = {}
        pool = concurrent.futures.ThreadPoolExecutor(self._limits.concurrency, thread_name_prefix="llm")

        def oldest() -> tuple[Tag, Answer | Failure]:
            tag, key, future = pending.popleft()
            result = self._checked(future.result())
            under_way.pop(key, None)
            return tag, result

        try:
            for tag, request in requests:
                if request.key not in under_way:
                    under_way[request.key] = pool.submit(self._answer, request)
                pending.append((tag, request.key, under_way[request.key]))
                if len(pending) >= _AHEAD * self._limits.concurrency:
                    yield oldest()
            while pending:
                yield oldest()
        finally:
            self._stop.set()
            pool.shutdown(wait=True, cancel_futures=True)

    def _checked(self, result: Answer | Failure) -> Answer | Failure:
        """Returns the result, unless it shows that asking on is of no use."""
        if isinstance(result, Answer) or result.kind is Kind.BUDGET:
            return result
        if self._failed_in_a_row < _STOP_AFTER and (result.kind is Kind.REFUSED or self._endpoint.reached):
            return result
        raise errors.UserError(
            f"{self._endpoint.url}: {self._failed_in_a_row} requests in a row got no answer ({result.text}); see to "
            "the endpoint, then run the same command again: what was answered is kept"
        )

    def _answer(self, request: Request) -> Answer | Failure:
        """Returns the answer from the cache or the endpoint."""
        kept = self._cache.get(request)
        if kept is not None:
            with self._lock:
                self.from_cache += 1
            return kept
        result = self._ask(request)
        with self._lock:
            self._failed_in_a_row = 0 if isinstance(result, Answer) else self._failed_in_a_row + 1
        return result

    def _ask(self, request: Request) -> Answer | Failure:
        data = json.dumps(request.body()).encode()
        most = self._most(request)
        for attempt in range(_ATTEMPTS):
            if not self._budget.reserve(most, self._stop):
                return Failure(Kind.BUDGET, f"may take {most.total()} tokens, and {self._budget.said()}")
            used = most  # an exchange whose end nobody saw may have been billed
            try:
                self._gate.wait(self._stop)
                if self._stop.is_set():
                    used = Tokens()
                    return Failure(Kind.FAILED, "was not asked any more")
                with self._lock:
                    self.sent += 1
                answer = self._endpoint.exchange(data, most)
                used = answer.tokens
                self._cache.put(request, answer)
                return answer
            except UnansweredError as problem:
                used = most if problem.billed else Tokens()
                last = problem
            finally:
                self._budget.settle(most, used)
            if not last.again:
                return Failure(Kind.REFUSED, str(last))
            if attempt + 1 >= (_ATTEMPTS if self._endpoint.reached else _ATTEMPTS_UNREACHED):
                break
            if (last.wait or 0) > _LONGEST_RETRY_AFTER_S:
                return Failure(Kind.FAILED, f"{last}; asks to wait {last.wait:.0f} s")
            self._pause(attempt, last)
        return Failure(Kind.FAILED, str(last))

    def _pause(self, attempt: int, problem: UnansweredError) -> None:
        seconds = min(_FIRST_WAIT_S * 2**attempt, _LONGEST_WAIT_S) * random.uniform(0.5, 1.0)
        if problem.overloaded:  # then no other request does any better
            self._gate.hold(seconds if problem.wait is None else problem.wait)
        else:
            self._stop.wait(seconds)

    def _most(self, request: Request) -> Tokens:
        """Returns the most tokens that an exchange can take: no tokenizer makes more than one of a byte."""
        prompt = sum(len(text.encode("utf-8", "surrogatepass")) + _MESSAGE_TOKENS for _, text in request.messages)
        bounds = [request.sampling[name] for name in ANSWER_BOUNDS if is_count(request.sampling.get(name))]
        if not bounds and (self._limits.max_tokens is not None or self._limits.max_cost is not None):
            raise errors.ConfigError(
                f"sampling: must bound the answer by {' or '.join(ANSWER_BOUNDS)} where there is a budget"
            )
        return Tokens(prompt, min(bounds, default=0))
