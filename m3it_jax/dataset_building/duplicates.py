"""Which ids stood there before, in eight bytes for each of them."""

import bisect

import numpy as np

from m3it_jax import rng

# CHOICE: a Python set of so many numbers takes 6 MB; of a million it would take a hundred.
_RECENT = 1 << 16


class Seen:
    """A set of ids that grows. Two ids are taken for one if 63 bits of their hashes agree."""

    def __init__(self) -> None:
        """Begins with nothing."""
        self._recent: set[int] = set()
        self._sorted = np.zeros(0, np.int64)

    def add(self, text: str) -> bool:
        """Adds an id and returns whether it stood there before."""
        digest = rng.fold(0, text)
        place = bisect.bisect_left(self._sorted, digest)
        if digest in self._recent or (place < len(self._sorted) and self._sorted[place] == digest):
            return True
        self._recent.add(digest)
        if len(self._recent) == _RECENT:
            recent = np.fromiter(self._recent, np.int64, _RECENT)
            self._sorted = np.sort(np.concatenate([self._sorted, recent]), kind="stable")
            self._recent.clear()
        return False
