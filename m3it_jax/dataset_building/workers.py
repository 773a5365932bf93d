"""Processes that work for this one and count what they have done; they end when it ends."""

import concurrent.futures
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

from m3it_jax import errors, progress

_POLL = 0.5  # seconds between looks at the workers

_reported: Any = None  # in a worker: the counter that it shares with the parent


def _start_worker(counter: Any, parent: int) -> None:
    global _reported
    _reported = counter
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")  # before TensorFlow is imported: it logs a page at start
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the parent, which ends the workers

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(_POLL)
        os._exit(1)  # the parent was killed: an orphan must not go on writing

    threading.Thread(target=watch, daemon=True).start()


class Workers:
    """Worker processes; leaving by an error ends them at once."""

    def __init__(self, jobs: int):
        context = multiprocessing.get_context("spawn")
        self._counter = context.Value("q", 0)
        self._pool = concurrent.futures.ProcessPoolExecutor(
            jobs, mp_context=context, initializer=_start_worker, initargs=(self._counter, os.getpid())
        )

    def __enter__(self) -> "Workers":
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        if kind is not None:
            for child in multiprocessing.active_children():
                child.kill()
        self._pool.shutdown(wait=True, cancel_futures=True)

    def run(self, task: Callable, orders: list[Any], shown: progress.Progress) -> list[Any]:
        """Returns task(order) of every order, and meanwhile reports what the workers count."""
        # A worker that is still importing would print a traceback for a Ctrl-C meant for the parent: it starts deaf.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        try:
            futures = [self._pool.submit(task, order) for order in orders]
        finally:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
        pending = set(futures)
        while pending:
            done, pending = concurrent.futures.wait(pending, _POLL, concurrent.futures.FIRST_EXCEPTION)
            try:
                for future in done:
                    future.result()
            except concurrent.futures.process.BrokenProcessPool as error:
                raise errors.UserError(
                    "a worker of the build died, perhaps for want of memory; run the same command again with --jobs 1"
                ) from error
            shown.update_to(self._counter.value)
        return [future.result() for future in futures]


def count(number: int = 1) -> None:
    """Adds to what the workers have done; only a worker calls it."""
    with _reported.get_lock():
        _reported.value += number
