"""Progress of long work on stderr: a line that lives on a terminal, plain lines with rate and time left elsewhere."""

import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from typing import Any, TextIO, TypeVar

T = TypeVar("T")

_LINE_EVERY = 5.0  # least seconds between plain lines: a log stays readable, and nobody waits long for a sign of life
_BEAT = 1.0  # seconds between two looks at a line on a terminal
_LONG = 3.0  # seconds of waiting from which on the end of it is told elsewhere

# Before, a rate says nothing: the first units are few and come with the start-up of what works on them.
_LEAST_SECONDS, _LEAST_SHARE = 3.0, 0.01


class Beat:
    """Calls a function each second from a thread while the context lasts, so that a terminal never stands still."""

    def __init__(self, show: Callable[[], None]):
        """Takes what is called; it must be quick."""
        self._show = show
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        while not self._ended.wait(_BEAT):
            self._show()

    def __enter__(self) -> "Beat":
        """Begins."""
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        """Ends; the function is not called any more."""
        self._ended.set()
        if self._thread.is_alive():
            self._thread.join()


class Waiting:
    """Says on a terminal what is waited for, with the seconds so far, and at the end how long it took if that was long.

    Elsewhere it says nothing, so that what a program writes does not depend on how quick the machine is.
    """

    def __init__(self, label: str, stream: TextIO | None = None):
        """Takes what is waited for, such as `compiling the training step`, and where to say it (stderr)."""
        self._label, self._stream = label, stream or sys.stderr
        self._is_live = self._stream.isatty()
        self._begin = time.monotonic()
        self._beat = Beat(self._show) if self._is_live else None

    def _show(self) -> None:
        seconds = time.monotonic() - self._begin
        print(f"\r\x1b[K{self._label} ... {seconds:.0f} s", end="", file=self._stream, flush=True)

    def __enter__(self) -> "Waiting":
        """Says it."""
        self._begin = time.monotonic()
        if self._beat is not None:
            self._show()
            self._beat.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        """Says how long it took, if it was long."""
        seconds = time.monotonic() - self._begin
        if self._beat is not None:
            self._beat.__exit__()
            print("\r\x1b[K", end="", file=self._stream, flush=True)
            if seconds >= _LONG:
                print(f"{self._label}: {seconds:.0f} s", file=self._stream, flush=True)


def _bar(total: int | None, label: str, stream: TextIO) -> Any:
    import tqdm  # its import takes longer than all of `m3it VERB --help`

    return tqdm.tqdm(total=total, desc=label, file=stream)


class Progress:
    """Counts finished units; a context manager that reports once more when it is left."""

    def __init__(self, total: int | None = None, label: str = "", stream: TextIO | None = None):
        """Takes the number of units to come (None if unknown), what they are, and where to report (stderr)."""
        self._total, self._label = total, label
        self._stream = stream or sys.stderr
        self._done = 0
        self._begin = self._last = time.monotonic()
        self._counted_from: tuple[float, int] | None = None  # (when, how many) at the first report of work
        self._reported = -1  # how many were done at the last line
        self._bar = _bar(total, label, self._stream) if self._stream.isatty() else None
        self._beat = Beat(self._bar.refresh) if self._bar is not None else None

    def update(self, count: int = 1) -> None:
        """Adds finished units and reports if it is time."""
        self._done += count
        if count and self._counted_from is None:
            self._counted_from = time.monotonic(), self._done
        if self._bar is not None:
            self._bar.update(count)
        elif time.monotonic() - self._last >= _LINE_EVERY:
            self._report()

    def update_to(self, done: int) -> None:
        """Sets the number of units finished in all."""
        self.update(done - self._done)

    def _left(self) -> float | None:
        """Returns about how many seconds are left, None while nobody can say."""
        if not self._total or self._done >= self._total or self._counted_from is None:
            return None
        # From the first sign of work on: start-up would make the time left look many times too long.
        seconds, count = self._last - self._counted_from[0], self._done - self._counted_from[1]
        if seconds < _LEAST_SECONDS or count < max(_LEAST_SHARE * self._total, 1):
            return None
        return (self._total - self._done) * seconds / count

    def _report(self) -> None:
        self._last, self._reported = time.monotonic(), self._done
        seconds = max(self._last - self._begin, 1e-9)
        of_total = f"/{self._total}" if self._total else ""
        left = self._left()
        told = "" if left is None else f", about {left:.0f} s left"
        line = f"{self._label}: {self._done}{of_total}, {self._done / seconds:.1f}/s, {seconds:.0f} s{told}"
        print(line, file=self._stream, flush=True)

    def __enter__(self) -> "Progress":
        """Returns itself."""
        if self._beat is not None:
            self._beat.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        """Reports for the last time, unless the last line says it already."""
        if self._bar is not None:
            if self._beat is not None:
                self._beat.__exit__()
            self._bar.close()
        elif self._reported != self._done:
            self._report()


def track(iterable: Iterable[T], total: int | None = None, label: str = "") -> Iterator[T]:
    """Yields what `iterable` yields and reports how far it is; `total` is taken from its length if it has one."""
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    with Progress(total, label) as progress:
        for element in iterable:
            yield element
            progress.update()
