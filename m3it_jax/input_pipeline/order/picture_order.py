"""Where each record stands in each epoch of its source, as arithmetic: pictures lie in clusters, clusters are permuted.

The hashes of pictures are cut into as many equal ranges as there are *clusters*, the same for all sources. A source
puts equally many of its records into each (to one): what a range has too many of goes where others have too few. So
sources that advance at one pace are at the same cluster at any time, and meet at their common pictures. An epoch is a
permutation of the clusters, the same for all sources; nothing is sorted again.

Clusters differ in what they cost. They are dealt so that each `STRATA` neighbours are one of each kind, from the
cheapest to the dearest, and a cheap one of its kind goes with a dear one of the opposite kind: then each such stretch
of an epoch costs nearly the same.
"""

import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from m3it_jax import rng

IntArray = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]

# CHOICE: clusters of a block, not compared with other numbers. More would mix an epoch better, and move more records
# away from those with the same picture: 9 % of M3IT's where a cluster has 800 records, 13 % at 400, 18 % at 200.
STRATA = 8
_PORTION = 1 << 16  # records that are hashed at once, so that hashing takes little memory
_SORTED = 1 << 21  # records that are sorted at once, for the same reason


class Drawn(NamedTuple):
    """Some records, source by source and epoch by epoch.

    Attributes:
      sources: Number of the source of each, int64 [records].
      places: Its place among the source's records, int64 [records].
      epochs: Epoch of the source, int64 [records].
    """

    sources: IntArray
    places: IntArray
    epochs: IntArray


class Within(NamedTuple):
    """The records of some clusters, source by source.

    Attributes:
      sources: Number of the source of each, int64 [records].
      places: Of each source, the places of its records, uint32.
      clusters: Cluster of each record, int64 [records].
    """

    sources: IntArray
    places: Sequence[npt.NDArray[np.uint32]]
    clusters: IntArray


class PictureOrder:
    """The order of the records of several sources in each of their epochs.

    Attributes:
      sizes: Records of each source, int64 [sources].
      num_clusters: Of each source.
    """

    def __init__(self, sizes: Sequence[int], hashes: Callable[[int, slice], Hashes], *, seed: int, num_blocks: int):
        """Sorts the records into clusters.

        Args:
          sizes: Records of each source.
          hashes: Returns the hashes of a source's records at some places: equal for those that show the same.
          seed: Decides the epochs.
          num_blocks: How often an epoch has `STRATA` clusters.
        """
        self.sizes = np.array(sizes, np.int64)
        self._seed = seed
        total = int(self.sizes.sum())
        self.num_clusters = STRATA * num_blocks
        self._starts = np.concatenate([[0], np.cumsum(self.sizes)])
        self._places = np.empty(total, np.uint32)  # of records in their source, cluster by cluster
        edges = np.arange(self.num_clusters + 1, dtype=np.int64)
        self._ends = edges * self.sizes[:, None] // self.num_clusters  # [sources, clusters + 1]
        for source, size in enumerate(sizes):
            own = self._places[self._starts[source] : self._starts[source + 1]]
            counts = _sort(own, functools.partial(hashes, source), size=size, num_clusters=self.num_clusters)
            _even_out(own, counts, np.diff(self._ends[source]))
        self._kinds = edges[:-1].reshape(STRATA, -1)
        self._permutation = functools.lru_cache(maxsize=16)(self._draw_permutation)
        self._epoch = functools.lru_cache(maxsize=4 * len(sizes))(self._draw_epoch)

    def deal_by(self, costs: npt.NDArray[np.int64]) -> None:
        """Takes what each cluster costs, and orders epochs by it from now on."""
        self._kinds = np.argsort(costs, kind="stable").reshape(STRATA, -1)
        self._kinds[STRATA // 2 :] = self._kinds[STRATA // 2 :, ::-1].copy()
        self._permutation.cache_clear()
        self._epoch.cache_clear()

    def within(self, clusters: IntArray) -> Within:
        """Returns the records of neighbouring clusters, source by source."""
        bounds = self._ends[:, clusters[0] : clusters[-1] + 2]
        places = [
            self._places[start + first : start + last]
            for start, (first, last) in zip(self._starts.tolist(), bounds[:, [0, -1]].tolist(), strict=False)
        ]
        sizes = np.diff(bounds, axis=1)
        sources = np.repeat(np.arange(len(sizes)), sizes.sum(axis=1))
        return Within(sources, places, np.repeat(np.tile(clusters, len(sizes)), sizes.ravel()))

    def stretch(self, number: int) -> Drawn:
        """Returns the records of the next `STRATA` clusters of all sources, the `number`-th time, over all epochs."""
        epoch, place = divmod(number, self.num_clusters // STRATA)
        clusters = self._permutation(epoch)[place * STRATA : (place + 1) * STRATA]
        starts = self._ends[:, clusters]
        sizes = self._ends[:, clusters + 1] - starts
        places = self._at((starts + self._starts[:-1, None]).ravel(), sizes.ravel())
        sources = np.repeat(np.arange(len(sizes)), sizes.sum(axis=1))
        return Drawn(sources, places, np.full(len(places), epoch))

    def between(self, begins: IntArray, ends: IntArray) -> Drawn:
        """Returns the records that stand between two positions of each source, in any order.

        Args:
          begins: First position of each source, int64 [sources]; they count over all epochs, from 0 on.
          ends: The position behind the last one.
        """
        starts, lengths, whose = [], [], []
        spans = zip(begins.tolist(), ends.tolist(), self.sizes.tolist(), strict=True)
        for source, (begin, end, size) in enumerate(spans):
            while begin < end:
                epoch, place = divmod(begin, size)
                count = min(end - begin, size - place)
                # Of a whole epoch the order is of no account: what is asked for are the records between.
                found = self._starts[source, None], self.sizes[source, None]
                if count < size:
                    found = self._runs(source, epoch, slice(place, place + count))
                starts.append(found[0])
                lengths.append(found[1])
                whose.append((source, epoch, count))
                begin += count
        sources, epochs, counts = np.array(whose, np.int64).reshape(-1, 3).T
        if not len(counts):
            return Drawn(counts, counts, counts)
        places = self._at(np.concatenate(starts), np.concatenate(lengths))
        return Drawn(np.repeat(sources, counts), places, np.repeat(epochs, counts))

    def _at(self, starts: IntArray, lengths: IntArray) -> IntArray:
        """Returns the places of some runs of `_places`."""
        before = np.cumsum(lengths) - lengths
        return self._places[np.repeat(starts - before, lengths) + np.arange(lengths.sum())].astype(np.int64)

    def _runs(self, source: int, epoch: int, positions: slice) -> tuple[IntArray, IntArray]:
        """Returns where the runs of an epoch's positions begin in `_places`, and their lengths."""
        starts, ends = self._epoch(source, epoch)
        first = int(ends.searchsorted(positions.start, side="right")) - 1
        last = int(ends.searchsorted(positions.stop - 1, side="right"))
        begins, bounds = starts[first:last].astype(np.int64), ends[first : last + 1].astype(np.int64)
        begins[0] += positions.start - bounds[0]
        bounds[0], bounds[-1] = positions.start, positions.stop
        return begins, bounds[1:] - bounds[:-1]

    def _draw_epoch(self, source: int, epoch: int) -> tuple[npt.NDArray[np.uint32], npt.NDArray[np.int32]]:
        """Returns where clusters begin in `_places`, in the order of an epoch, and at which positions they begin."""
        order = self._permutation(epoch)
        own = self._ends[source]
        ends = np.concatenate([[0], np.cumsum(own[order + 1] - own[order])])
        return (own[order] + self._starts[source]).astype(np.uint32), ends.astype(np.int32)

    def _draw_permutation(self, epoch: int) -> IntArray:
        chance = rng.generator(self._seed, "clusters", epoch)
        half = np.tile(np.arange(self._kinds.shape[1]), (STRATA // 2, 1))
        half = chance.permuted(half, axis=1)
        dealt = np.take_along_axis(self._kinds, np.concatenate([half, half[::-1]]), axis=1)
        return chance.permuted(dealt.T, axis=1).ravel()


def _sort(out: npt.NDArray[np.uint32], hashes: Callable[[slice], Hashes], *, size: int, num_clusters: int) -> IntArray:
    """Writes the places of records by their hashes into `out`; returns how many lie in each cluster's range."""
    counts = np.zeros(num_clusters, np.int64)
    parts = -(-size // _SORTED)
    done = 0
    for part in range(parts):  # of the hashes' range
        found = []
        for first in range(0, size, _PORTION):
            upper = hashes(slice(first, min(first + _PORTION, size))) & np.uint64(0xFFFFFFFF00000000)
            places = np.arange(first, first + len(upper), dtype=np.uint64)
            if parts > 1:
                here = (upper >> np.uint64(32)) * np.uint64(parts) >> np.uint64(32) == part
                upper, places = upper[here], places[here]
            counts += np.bincount(_range_of(upper, num_clusters), minlength=num_clusters)
            found.append(upper | places)
        drawn = np.concatenate(found)
        del found
        drawn.sort()
        out[done : done + len(drawn)] = drawn  # the lower half: a cast to 32 bits drops the upper one
        done += len(drawn)
    return counts


def _range_of(hashes: Hashes, num_clusters: int) -> IntArray:
    return ((hashes >> np.uint64(32)) * np.uint64(num_clusters) >> np.uint64(32)).astype(np.int64)


def _even_out(places: npt.NDArray[np.uint32], counts: IntArray, quotas: IntArray) -> None:
    """Gives each cluster as many of the places as it shall have, `quotas`; they stand by hash, `counts` to each."""
    stays = np.minimum(counts, quotas)
    is_over = _repeated((stays, False), (counts - stays, True))
    kept, moved = places[~is_over], places[is_over]
    is_free = _repeated((stays, False), (quotas - stays, True))
    places[~is_free] = kept
    places[is_free] = moved


def _repeated(*parts: tuple[IntArray, bool]) -> npt.NDArray[np.bool_]:
    """Returns for each cluster in turn so many of the first value, then so many of the second."""
    values = np.tile([value for _, value in parts], len(parts[0][0]))
    return np.repeat(values, np.stack([number for number, _ in parts], axis=1).ravel())
