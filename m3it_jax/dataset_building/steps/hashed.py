"""Texts by their hashes: which stood there before, and how many differ, in a few bytes for each.

A Python set of ids takes a hundred bytes for each. Two texts are taken for one if 63 bits of their hashes agree: of a
hundred million, that is one pair in a thousand sets.
"""

import pathlib
import tempfile
from typing import Any

import numpy as np

from m3it_jax import rng

_BITS = 63  # of `rng.fold`
_PARTS_BITS = 6  # the sorted hashes stand in 64 parts, so that one grows without a copy of all
# CHOICE: so many, or a 64th of all, are held in a set before they are sorted in among the others.
_RECENT = 1 << 13
# CHOICE: hashes that are counted at once; the file is read again for each further portion, of which are at most 64.
_COUNTED_AT_ONCE, _MOST_PORTIONS = 1 << 14, 64


class Seen:
    """A set of texts that only grows, in eight bytes for each."""

    def __init__(self) -> None:
        """Begins with nothing."""
        self._recent: set[int] = set()
        self._sorted = [np.zeros(0, np.int64)] * (1 << _PARTS_BITS)
        self._number = 0

    def add(self, text: str) -> bool:
        """Adds a text and returns whether it stood there before."""
        digest = rng.fold(0, text)
        part = self._sorted[digest >> _BITS - _PARTS_BITS]
        place = int(part.searchsorted(digest))
        if digest in self._recent or (place < len(part) and part[place] == digest):
            return True
        self._recent.add(digest)
        if len(self._recent) >= max(_RECENT, self._number >> 6):
            self._merge()
        return False

    def _merge(self) -> None:
        recent = np.sort(np.fromiter(self._recent, np.int64, len(self._recent)))
        self._recent.clear()
        self._number += len(recent)
        bounds = np.searchsorted(recent >> _BITS - _PARTS_BITS, np.arange((1 << _PARTS_BITS) + 1))
        for part, (begin, end) in enumerate(zip(bounds[:-1], bounds[1:], strict=True)):
            held, new = self._sorted[part], recent[begin:end]
            self._sorted[part] = np.insert(held, held.searchsorted(new), new)


class Tally:
    """How many of the texts that were added differ, and how often the commonest was; the hashes lie on disk."""

    def __init__(self, folder: pathlib.Path | None = None):
        """Takes the folder for a file without a name; None leaves it to the system."""
        self._file: Any = tempfile.TemporaryFile(dir=folder)
        self._number = 0

    def add(self, text: str) -> None:
        """Counts one text."""
        self._file.write(rng.fold(0, text).to_bytes(8, "little"))
        self._number += 1

    def counts(self) -> tuple[int, int]:
        """Returns how many texts differ, and how often the commonest was added."""
        self._file.flush()
        differ = most = 0
        portions = min(1 + self._number // _COUNTED_AT_ONCE, _MOST_PORTIONS)
        for portion in range(portions):
            self._file.seek(0)
            found = [np.zeros(0, np.int64)]
            while len(hashes := np.fromfile(self._file, "<i8", _COUNTED_AT_ONCE)):
                found.append(hashes[(hashes >> _BITS - 32) * portions >> 32 == portion])
            _, numbers = np.unique(np.concatenate(found), return_counts=True)
            differ += len(numbers)
            most = max(most, int(numbers.max(initial=0)))
        return differ, most
