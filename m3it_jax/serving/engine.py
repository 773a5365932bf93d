"""The scheduler in a thread of its own, for requests that wait in an event loop."""

import asyncio
import dataclasses
import queue
import threading
import traceback
from collections.abc import AsyncGenerator, Callable, Hashable, Sequence

from m3it_jax import errors
from m3it_jax.generation.answers import Answer, TokenScore
from m3it_jax.generation.batching import Prepared
from m3it_jax.generation.scheduler import Scheduler

_NO_WORK = 1.0  # seconds until an idle thread looks whether it is to end


class BusyError(Exception):
    """As many answers wait as may."""


@dataclasses.dataclass(frozen=True)
class Update:
    """What has come of an answer since the last update.

    Attributes:
      number: Of the answer within its request.
      piece: New text; the pieces joined are the answer.
      scores: Of new tokens, if wanted.
      num_tokens: New tokens so far.
      num_shared: Tokens of the prompt that were known.
      finish: "" while it is made, else as in `Answer`.
      error: What went wrong, if `finish` is "error".
    """

    number: int
    piece: str
    scores: Sequence[TokenScore]
    num_tokens: int
    num_shared: int
    finish: str
    error: Exception | None


class _Follower:
    """Where the updates of one answer go; used in the scheduler's thread."""

    def __init__(self, number: int, put: Callable[[Update], None]):
        self.number, self.put = number, put
        self.answer: Answer | None = None
        self.is_left = False  # nobody waits for it any more
        self._num_said = self._num_scores = 0

    def tell(self, answer: Answer) -> Update:
        said = answer.said.lstrip()
        if not answer.finish:
            said = said.rstrip()  # blanks at the end are part of the answer only if something follows
        else:
            said = answer.said.strip()
        piece, scores = said[self._num_said :], answer.scores[self._num_scores :]
        self._num_said, self._num_scores = len(said), len(answer.scores)
        counts = len(answer.tokens), answer.num_shared
        return Update(self.number, piece, scores, *counts, answer.finish, answer.error)


class Engine:
    """Gives requests to the scheduler and its answers back.

    Attributes:
      scheduler: Used by this thread alone from `start` on; its numbers may be read by anybody.
      num_pending: Answers that are asked for and not finished.
      most_pending: Beyond so many, nothing more is taken.
    """

    def __init__(self, scheduler: Scheduler, *, most_waiting: int):
        """Takes the scheduler, and how many answers may wait beside those that are being made."""
        self.scheduler = scheduler
        self.most_pending = scheduler.num_rows + most_waiting
        self.num_pending = 0
        self._inbox: queue.SimpleQueue[Callable[[], None] | None] = queue.SimpleQueue()
        self._followers: dict[Answer, _Follower] = {}
        self._thread = threading.Thread(target=self._work, name="scheduler", daemon=True)

    def start(self) -> None:
        """Begins to work."""
        self._thread.start()

    def stop(self) -> None:
        """Ends the thread, and with it whatever is under way."""
        self._inbox.put(None)
        if self._thread.is_alive():
            self._thread.join()

    async def answers(
        self, asked: Sequence[Prepared], *, owner: Hashable, num_best: int | None
    ) -> AsyncGenerator[Update, None]:
        """Yields updates of the answers until all are finished; closing it cancels those that are not.

        Raises:
          BusyError: there is no room for so many; nothing was begun.
        """
        if self.num_pending + len(asked) > self.most_pending:
            raise BusyError
        loop = asyncio.get_running_loop()
        updates: asyncio.Queue[Update] = asyncio.Queue()

        def put(update: Update) -> None:
            try:
                loop.call_soon_threadsafe(updates.put_nowait, update)
            except RuntimeError:
                pass  # the loop has ended, and with it whoever waited

        followers = [_Follower(number, put) for number in range(len(asked))]
        self.num_pending += len(asked)
        try:
            self._inbox.put(lambda: self._submit(asked, followers, owner=owner, num_best=num_best))
            left = len(asked)
            while left:
                update = await updates.get()
                left -= bool(update.finish)
                yield update
        finally:
            self.num_pending -= len(asked)
            for follower in followers:
                follower.is_left = True
            self._inbox.put(lambda: self._cancel(followers))

    def _submit(
        self, asked: Sequence[Prepared], followers: Sequence[_Follower], *, owner: Hashable, num_best: int | None
    ) -> None:
        for prepared, follower in zip(asked, followers, strict=True):
            if follower.is_left:
                continue
            try:
                answer = self.scheduler.submit(prepared, owner=owner, num_best=num_best)
            except (errors.UserError, ValueError) as error:
                follower.put(Update(follower.number, "", (), 0, 0, "error", error))
                continue
            follower.answer = answer
            self._followers[answer] = follower

    def _cancel(self, followers: Sequence[_Follower]) -> None:
        for follower in followers:
            if follower.answer is not None and not follower.answer.finish:
                self.scheduler.cancel(follower.answer)
                self._followers.pop(follower.answer, None)

    def _work(self) -> None:
        while True:
            while not self.scheduler.is_busy or not self._inbox.empty():
                try:
                    job = self._inbox.get(timeout=_NO_WORK)
                except queue.Empty:
                    continue
                if job is None:
                    return
                job()
            try:
                changed = self.scheduler.step()
            except Exception as error:  # whatever the device says: those under way are told, and the next ones go on
                traceback.print_exc()
                changed = self.scheduler.start_anew(error)
            for answer in changed:
                follower = self._followers.get(answer)
                if follower is not None:
                    follower.put(follower.tell(answer))
                    if answer.finish:
                        del self._followers[answer]
