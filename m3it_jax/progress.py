"""Progress of long work on stderr: a bar on a terminal, plain lines with rate and time left elsewhere."""

import sys
import time
from collections.abc import Iterable, Iterator, Sized
from typing import TextIO, TypeVar

import tqdm

T = TypeVar("T")

_LINE_EVERY = 5.0  # least seconds between plain lines: a log stays readable, and nobody waits long for a sign of life


class Progress:
    """Counts finished units; a context manager that reports once more when it is left."""

    def __init__(self, total: int | None = None, label: str = "", stream: TextIO | None = None):
        """Takes the number of units to come (None if unknown), what they are, and where to report (stderr)."""
        self._total, self._label = total, label
        self._stream = stream or sys.stderr
        self._done = 0
        self._begin = self._last = time.monotonic()
        self._counted_from: tuple[float, int] | None = None  # (when, how many) at the first report of work
        self._bar = tqdm.tqdm(total=total, desc=label, file=self._stream) if self._stream.isatty() else None

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

    def _report(self) -> None:
        self._last = time.monotonic()
        seconds = max(self._last - self._begin, 1e-9)
        of_total = f"/{self._total}" if self._total else ""
        left = ""
        if self._total and self._counted_from and self._done > self._counted_from[1]:
            # From the first sign of work on: start-up would make the time left look many times too long.
            rate = (self._done - self._counted_from[1]) / max(self._last - self._counted_from[0], 1e-9)
            left = f", about {max(self._total - self._done, 0) / rate:.0f} s left"
        line = f"{self._label}: {self._done}{of_total}, {self._done / seconds:.1f}/s, {seconds:.0f} s{left}"
        print(line, file=self._stream, flush=True)

    def __enter__(self) -> "Progress":
        """Returns itself."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Reports for the last time."""
        if self._bar is not None:
            self._bar.close()
        else:
            self._report()


def track(iterable: Iterable[T], total: int | None = None, label: str = "") -> Iterator[T]:
    """Yields what `iterable` yields and reports how far it is; `total` is taken from its length if it has one."""
    if total is None and isinstance(iterable, Sized):
        total = len(iterable)
    with Progress(total, label) as progress:
        for element in iterable:
            yield element
            progress.update()
