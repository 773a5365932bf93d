"""What a run tells: metrics.jsonl and perf.jsonl, TensorBoard, and a line for the person who waits.

metrics.jsonl holds only what the same run gives again to the last bit; seconds and rates go to perf.jsonl
(docs/adr/0006). Both have one JSON object a logged step, and `step` counts finished updates.
"""

import json
import os
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import numpy as np
from clu import metric_writers

METRICS_FILE = "metrics.jsonl"
PERF_FILE = "perf.jsonl"


def means(sums: Mapping[str, np.ndarray], source_names: Sequence[str]) -> dict[str, float]:
    """Returns metric values of (sum, count) pairs; pairs by source get the source's name, empty ones are left out."""
    values = {}
    for name, pair in sums.items():
        named = [(name, pair)]
        if pair.ndim == 2:
            prefix = name.rsplit("/", 1)[0]
            named = [(f"{prefix}/{source}", row) for source, row in zip(source_names, pair, strict=True)]
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

    def write(self, step: int, sums: Mapping[str, np.ndarray], learning_rate: float) -> None:
        """Writes the metrics of the steps since the last line."""
        values = {**means(sums, self._source_names), "train/learning_rate": learning_rate}
        self._metrics.write(step, values)
        self._board.write_scalars(step, values)
        self._progress.show(step, values)

    def write_validation(self, step: int, sums: Mapping[str, np.ndarray]) -> None:
        """Writes the means over validation batches, `train/...` renamed to `validation/...`."""
        values = means(sums, self._source_names)
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
        """Flushes and closes all files."""
        self._metrics.close()
        self._perf.close()
        self._board.close()


class ProgressLine:
    """One line for the run: rewritten in place on a terminal, a plain line each few seconds elsewhere."""

    def __init__(self, start_step: int, num_steps: int, stream: TextIO):
        """Begins to count time after the first shown step, so that compiling does not spoil the estimate."""
        self._num_steps = num_steps
        self._stream = stream
        self._first: tuple[float, int] | None = None
        self._shown = float("-inf")
        self._start_step = start_step

    def show(self, step: int, values: Mapping[str, float]) -> None:
        """Shows step, loss and time left."""
        now = time.monotonic()
        self._first = self._first or (now, step)
        done = step - self._first[1]
        left = (now - self._first[0]) / done * (self._num_steps - step) if done else None
        last = step >= self._num_steps
        live = self._stream.isatty()
        if now - self._shown < (0.2 if live else 5.0) and not last:
            return
        self._shown = now
        eta = "" if left is None else f", {left / 60:.1f} min left"
        text = f"step {step}/{self._num_steps} loss {values['train/loss']:.4f}{eta}"
        print(f"\r\x1b[K{text}" if live else text, end="\n" if last or not live else "", file=self._stream, flush=True)  # noqa: T201
