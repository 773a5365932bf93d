"""What a run tells: metrics.jsonl and perf.jsonl, TensorBoard, and a line for the person who waits.

metrics.jsonl holds only what the same run gives again to the last bit; seconds and rates go to perf.jsonl
(docs/adr/0006). Both have one JSON object a logged step, and `step` counts finished updates.
"""

import contextlib
import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from clu import metric_writers

from m3it_jax.progress import Beat

_LINE_EVERY = 5.0  # seconds between two plain lines
_LONG = 3.0  # seconds of waiting from which on their number is told

METRICS_FILE = "metrics.jsonl"
PERF_FILE = "perf.jsonl"


def means(sums: Mapping[str, np.ndarray], source_names: Sequence[str]) -> dict[str, float]:
    """Returns metric values of (sum, count) pairs; pairs by source get the source's name, empty ones are left out.

    There may be fewer sources than pairs, since validation may lack some of those that are trained on.
    """
    values = {}
    for name, pair in sums.items():
        named = [(name, pair)]
        if pair.ndim == 2:
            prefix = name.rsplit("/", 1)[0]
            named = [(f"{prefix}/{source}", row) for source, row in zip(source_names, pair, strict=False)]
        values.update({key: float(total / count) for key, (total, count) in named if count > 0})
    return values


class JsonLines:
    """A file of one JSON object a line, each written whole and at once."""

    def __init__(self, path: Path, *, last_step: int):
        """Opens the file for appending, without the lines after `last_step`, which the run is about to write again."""
        if path.exists():
            kept = [line for line in path.read_text("utf-8").splitlines(keepends=True) if _step(line) <= last_step]
            temporary = path.with_suffix(".tmp")
            temporary.write_text("".join(kept), "utf-8")
            os.replace(temporary, path)
        self._file = path.open("a", encoding="utf-8")

    def write(self, step: int, values: Mapping[str, Any]) -> None:
        """Appends {"step": step, **values}."""
        self._file.write(json.dumps({"step": step, **values}) + "\n")
        self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def _step(line: str) -> float:
    try:
        return json.loads(line)["step"] if line.endswith("\n") else float("inf")
    except (ValueError, KeyError, TypeError):
        return float("inf")  # torn by a kill


class Telemetry:
    """Writes a run's metrics to all places."""

    def __init__(self, run_dir: Path, *, start_step: int, num_steps: int, source_names: Sequence[str]):
        """Continues the run's files after `start_step`."""
        self._metrics = JsonLines(run_dir / METRICS_FILE, last_step=start_step)
        self._perf = JsonLines(run_dir / PERF_FILE, last_step=start_step)
        self._board = metric_writers.SummaryWriter(str(run_dir / "tb"))
        self._source_names = source_names
        self._num_steps = num_steps
        self._progress = ProgressLine(start_step, num_steps, sys.stderr)

    def begin(self) -> None:
        """Shows the line of progress from here on."""
        self._progress.begin()

    def count(self, step: int) -> None:
        """Notes that a step is under way to the devices; its metrics are written later."""
        self._progress.count(step)

    def waiting(self, label: str) -> contextlib.AbstractContextManager[None]:
        """Says what is waited for meanwhile, and how long it took if that was long."""
        return self._progress.waiting(label)

    def write(self, step: int, sums: Mapping[str, np.ndarray], learning_rate: float) -> None:
        """Writes the metrics of the steps since the last line."""
        values = {**means(sums, self._source_names), "train/learning_rate": learning_rate}
        self._metrics.write(step, values)
        self._board.write_scalars(step, values)
        self._progress.show(step, values)

    def write_validation(self, step: int, sums: Mapping[str, np.ndarray], source_names: Sequence[str]) -> None:
        """Writes the means over batches of the validation's sources, `train/...` renamed to `validation/...`."""
        values = means(sums, source_names)
        values = {
            name.replace("train/", "validation/").replace("data/", "validation/"): x for name, x in values.items()
        }
        self._metrics.write(step, values)
        self._board.write_scalars(step, values)

    def write_perf(self, step: int, values: Mapping[str, float]) -> None:
        """Writes wall-clock figures of the steps since the last line."""
        self._perf.write(step, values)
        self._board.write_scalars(step, values)

    def close(self) -> None:
        """Flushes and closes all files, and ends the line of progress."""
        self._progress.close()
        self._metrics.close()
        self._perf.close()
        self._board.close()


class Silence(Telemetry):
    """What the processes of a run other than the first tell: nothing."""

    def __init__(self) -> None:
        """Opens no file."""

    def begin(self) -> None:
        """Shows nothing."""

    def count(self, step: int) -> None:
        """Notes nothing."""

    def waiting(self, label: str) -> contextlib.AbstractContextManager[None]:
        """Says nothing."""
        return contextlib.nullcontext()

    def write(self, step: int, sums: Mapping[str, np.ndarray], learning_rate: float) -> None:
        """Writes nothing."""

    def write_validation(self, step: int, sums: Mapping[str, np.ndarray], source_names: Sequence[str]) -> None:
        """Writes nothing."""

    def write_perf(self, step: int, values: Mapping[str, float]) -> None:
        """Writes nothing."""

    def close(self) -> None:
        """Has nothing to close."""


class ProgressLine:
    """One line for the run: rewritten in place each second on a terminal, a plain line each few seconds elsewhere."""

    def __init__(self, start_step: int, num_steps: int, stream: TextIO):
        """Begins to count time after the first shown step, so that compiling does not spoil the estimate."""
        self._num_steps = num_steps
        self._stream = stream
        self._is_live = stream.isatty()
        self._step, self._loss, self._label = start_step, "", ""
        self._first: tuple[float, int] | None = None
        self._shown = float("-inf")
        self._since = time.monotonic()  # the last step
        self._beat = Beat(self._rewrite) if self._is_live else None

    def begin(self) -> None:
        """Begins to rewrite the line, if it is on a terminal."""
        if self._beat is not None:
            self._beat.__enter__()

    def close(self) -> None:
        """Ends the line."""
        if self._beat is not None:
            self._beat.__exit__()
            print(file=self._stream, flush=True)  # noqa: T201

    @contextlib.contextmanager
    def waiting(self, label: str) -> Iterator[None]:
        """Shows the label beside the step; a line tells the seconds of what took long."""
        self._label, self._since = label, time.monotonic()
        try:
            yield
        finally:
            seconds, self._label, self._since = time.monotonic() - self._since, "", time.monotonic()
        if seconds >= _LONG:
            clear = "\r\x1b[K" if self._is_live else ""
            print(f"{clear}{label}: {seconds:.0f} s", file=self._stream, flush=True)  # noqa: T201

    def count(self, step: int) -> None:
        """Notes a finished step, of which the loss is not known yet."""
        self._step, self._since = step, time.monotonic()

    def show(self, step: int, values: Mapping[str, float]) -> None:
        """Shows step, loss and time left."""
        now = time.monotonic()
        self._first = self._first or (now, step)
        self._loss = f" loss {values['train/loss']:.4f}"
        if self._is_live:
            return  # the next beat shows it
        if now - self._shown >= _LINE_EVERY or step >= self._num_steps:
            self._shown = now
            print(f"step {step}/{self._num_steps}{self._loss}{self._left(step)}", file=self._stream, flush=True)  # noqa: T201

    def _left(self, step: int) -> str:
        done = step - self._first[1] if self._first else 0
        if not done or not self._first or step >= self._num_steps:
            return ""
        return f", {(time.monotonic() - self._first[0]) / done * (self._num_steps - step) / 60:.1f} min left"

    def _rewrite(self) -> None:
        waited = time.monotonic() - self._since
        if self._label:
            what = f", {self._label} ... {waited:.0f} s"
        else:
            what = f", {waited:.0f} s since the last step" if waited > _LINE_EVERY else ""
        text = f"step {self._step}/{self._num_steps}{self._loss}{self._left(self._step)}{what}"
        print(f"\r\x1b[K{text}", end="", file=self._stream, flush=True)  # noqa: T201
