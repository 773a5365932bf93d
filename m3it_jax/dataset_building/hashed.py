"""Counts of texts by their hashes: twelve bytes for each that differs, where a Python set of ids takes a hundred.

Two texts are taken for one if 63 bits of their hashes agree: of a hundred million, that is one pair in a thousand sets.
"""

import numpy as np

from m3it_jax import rng

_BITS = 63  # of `rng.fold`
_PARTS_BITS = 6  # the sorted hashes stand in 64 parts, so that one grows without a copy of all
# CHOICE: so many, or a 64th of all, are held in a dict before they are sorted in among the others.
_RECENT = 1 << 13


class Counts:
    """How often each text was added."""

    def __init__(self) -> None:
        """Begins with nothing."""
        self._recent: dict[int, int] = {}
        self._keys = [np.zeros(0, np.int64)] * (1 << _PARTS_BITS)
        self._counts = [np.zeros(0, np.uint32)] * (1 << _PARTS_BITS)
        self._sorted = 0

    def add(self, text: str) -> int:
        """Adds a text and returns how often it has been added by now."""
        digest = rng.fold(0, text)
        self._recent[digest] = number = self._recent.get(digest, 0) + 1
        part = digest >> _BITS - _PARTS_BITS
        keys = self._keys[part]
        place = int(keys.searchsorted(digest))
        if place < len(keys) and keys[place] == digest:
            number += int(self._counts[part][place])
        if len(self._recent) >= max(_RECENT, self._sorted >> 6):
            self._merge()
        return number

    def __len__(self) -> int:
        """Returns how many texts differ."""
        self._merge()
        return self._sorted

    def most(self) -> int:
        """Returns how often the commonest text was added."""
        self._merge()
        return max(int(counts.max(initial=0)) for counts in self._counts)

    def _merge(self) -> None:
        recent = np.fromiter(self._recent, np.int64, len(self._recent))
        counts = np.fromiter(self._recent.values(), np.uint32, len(self._recent))
        self._recent.clear()
        order = np.argsort(recent)
        recent, counts = recent[order], counts[order]
        bounds = np.searchsorted(recent >> _BITS - _PARTS_BITS, np.arange((1 << _PARTS_BITS) + 1))
        for part, (begin, end) in enumerate(zip(bounds[:-1], bounds[1:], strict=True)):
            new, held = recent[begin:end], self._keys[part]
            places = held.searchsorted(new)
            known = np.zeros(len(new), bool)
            known[places < len(held)] = held[places[places < len(held)]] == new[places < len(held)]
            self._counts[part][places[known]] += counts[begin:end][known]
            self._keys[part] = np.insert(held, places[~known], new[~known])
            self._counts[part] = np.insert(self._counts[part], places[~known], counts[begin:end][~known])
            self._sorted += int((~known).sum())
