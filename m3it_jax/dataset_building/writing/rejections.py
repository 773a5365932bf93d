"""What a build left out, kept for a person to look at: `rejected.jsonl` and `quarantine.tfrecord` beside the shards.

A line of `rejected.jsonl` is an object: split, place, reason, text, and `id` if the row became a record all the same.
Those records lie in `quarantine.tfrecord`, in the order of their lines. Of a build that stopped the first file alone is
kept, as `OUT/<source>/rejected.jsonl`, until one succeeds.
"""

import collections
import contextlib
import dataclasses
import json
import pathlib
import shutil
from collections.abc import Iterator
from typing import IO, Any

from m3it_jax import records, schema
from m3it_jax.dataset_building.specification import Rejected
from m3it_jax.dataset_building.steps.pipeline import HARMLESS
from m3it_jax.records import framing

REJECTED = "rejected.jsonl"
QUARANTINE = "quarantine.tfrecord"

# CHOICE: rows that are shown on the screen; most often the first tells what is wrong with all of them.
NUM_SHOWN = 3


class Book:
    """Takes rows that were left out, of several splits in any order, and writes the two files split by split.

    Attributes:
      counts: Rows so far, by split and reason.
    """

    def __init__(self, folder: pathlib.Path):
        """Takes the folder in which the files are written."""
        self._folder = folder
        self._open: dict[tuple[str, str], IO[bytes]] = {}
        self.counts: dict[str, collections.Counter[str]] = {split: collections.Counter() for split in schema.SPLITS}
        self._faults: list[Rejected] = []
        self._harmless: list[Rejected] = []

    @property
    def first(self) -> list[Rejected]:
        """The first rows for the screen, at most `NUM_SHOWN`: those that are a fault, if there are any."""
        return self._faults or self._harmless

    def __enter__(self) -> "Book":
        """Opens a file of its own for each split."""
        for name in (REJECTED, QUARANTINE):
            for split in schema.SPLITS:
                self._open[name, split] = open(self._part(name, split), "wb")
        return self

    def __exit__(self, kind: type[BaseException] | None, *exception: object) -> None:
        """Joins the files of the splits; of a build that failed it keeps the list alone."""
        for file in self._open.values():
            file.close()
        for name in (REJECTED, QUARANTINE):
            is_kept = kind is None or name == REJECTED
            with open(self._folder / name, "wb") if is_kept else contextlib.nullcontext() as whole:
                for split in schema.SPLITS:
                    if whole is not None:
                        with open(self._part(name, split), "rb") as part:
                            shutil.copyfileobj(part, whole)
                    self._part(name, split).unlink()

    def note(self, split: str, row: Rejected) -> None:
        """Writes down one row."""
        self.counts[split][row.reason] += 1
        shown = self._harmless if row.reason in HARMLESS else self._faults
        if len(shown) < NUM_SHOWN:
            shown.append(dataclasses.replace(row, instance=None))
        line = {"split": split, "place": row.place, "reason": row.reason, "text": row.text}
        if row.instance is not None and row.reason not in HARMLESS:
            line["id"] = row.instance.id
            self._open[QUARANTINE, split].write(framing.frame(records.encode(row.instance)))
        # A text may hold what is no UTF-8: that can be the very reason; ASCII spells it \udXXX.
        ascii_only = not all(map(schema.encodable, line.values()))
        self._open[REJECTED, split].write(json.dumps(line, ensure_ascii=ascii_only).encode("utf-8") + b"\n")

    def _part(self, name: str, split: str) -> pathlib.Path:
        return self._folder / f"{name}.{split}"


def read(folder: pathlib.Path) -> Iterator[tuple[dict[str, Any], schema.Instance | None]]:
    """Yields each line of `rejected.jsonl` in a source's version folder with its record from quarantine, if it has one.

    A folder that was written without them has no rejected row.

    Raises:
      BrokenRecordError: the quarantine is damaged.
      ValueError: a line is no JSON.
    """
    if not (folder / REJECTED).exists():
        return
    kept = framing.scan(folder / QUARANTINE)
    with open(folder / REJECTED, encoding="utf-8") as file:
        for text in file:
            line = json.loads(text)
            yield line, records.decode(next(kept)[1]) if "id" in line else None
