"""The order of packed rows as arithmetic: (seed, step) gives the rows of that step, the same for every number of hosts.

A *stream* is all records of one source. A *block* is a run of records with a fixed count of each stream; the records of
a block are grouped by what they share, the groups are packed into rows (`bins`), and the rows get an order drawn for
that block. In each epoch a stream's records stand by a hash of their pictures, so records about one picture are
neighbours, and sources that advance at one pace (as they do without weights) meet at their common pictures.

How many rows a block has is known once it was packed. The numbers are kept in a small file, so that any step is found
at once afterwards; lost, they are counted again.
"""

import dataclasses
import functools
import hashlib
import json
import pathlib
import threading
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from m3it_jax import errors, progress, rng
from m3it_jax.input_pipeline.order import bins, kept_arrays
from m3it_jax.input_pipeline.order.mixture import IntArray, apportion
from m3it_jax.input_pipeline.order.token_lengths import Lengths

# CHOICE: large enough that the last row of a block wastes nothing to speak of and that sources meet at their common
# pictures (four times as many save 0.5 % of M3IT's tokens), small enough to be packed in a hundredth of a second.
BLOCK_RECORDS = 4_096
# CHOICE: times the mean tokens to learn from in a full row, so that this budget seldom closes one. The output head on
# as many more places costs a full-size model less than a percent.
_TARGETS_SPARE = 2.0
_PORTION = 1 << 18  # records that are hashed at once, so that hashing takes little memory
VERSION = 1  # of the way in which rows are made

# Columns of an entry: source index, record number in the source's table, epoch of the stream, instruction (0: its own,
# else 1 + its place in the pool), group within the row.
COLUMNS = ("source", "record", "epoch", "instruction", "group")


@dataclasses.dataclass(frozen=True)
class Stream:
    """All records of one source.

    Attributes:
      source: Its name.
      records: Numbers of its records in the source's table, rising.
      lengths: Of all records of the table.
      num_images: Slots that each record of the table needs.
      weight: Share of the records, in any unit.
      fingerprint: Of its lengths.
      num_dropped: Records that were left out because they are too long.
    """

    source: str
    records: IntArray
    lengths: Lengths
    num_images: npt.NDArray[np.int32]
    weight: float
    fingerprint: str
    num_dropped: int = 0


@dataclasses.dataclass(frozen=True)
class Block:
    """The rows of a block.

    Attributes:
      entries: int64 [records, 5], see COLUMNS; row by row, and in a row group by group.
      starts: int64 [rows + 1], first entry of each row.
      used: int64 [3], tokens, pictures and targets of all rows together.
    """

    entries: IntArray
    starts: IntArray
    used: IntArray


class PackedPlan:
    """Which records stand in which row. Every method is a pure function of the constructor's arguments.

    Attributes:
      source_names: Sorted names of the sources; an entry's source points into it.
      num_records: Records of all streams.
      budgets: Of a row: tokens, pictures, targets.
      fingerprint: Hexadecimal hash of everything that the order depends on.
    """

    def __init__(
        self,
        streams: Sequence[Stream],
        *,
        seed: int,
        global_batch_size: int,
        budgets: bins.Budgets,
        shares: bool,
        cache: Sequence[pathlib.Path] = (),
    ):
        """Lays out the blocks.

        Args:
          streams: In the order of their names.
          seed: Decides order and instructions.
          global_batch_size: Rows of a step, over all hosts.
          budgets: Of a row; targets 0 takes what the first block needs.
          shares: Whether records with one key share their beginning.
          cache: Folders where the rows of each block may be noted, the first that can be written to.
        """
        self._streams, self._seed, self._shares = list(streams), seed, shares
        self._rows_per_step = global_batch_size
        self.source_names = [stream.source for stream in streams]
        self.num_records = sum(len(stream.records) for stream in streams)
        total = max(min(BLOCK_RECORDS, self.num_records), len(streams))
        self._counts = apportion([stream.weight for stream in streams], total)
        self._order = functools.lru_cache(maxsize=len(streams) + 4)(self._draw_order)
        self.budgets = budgets if budgets.targets else budgets._replace(targets=self._needed_targets(budgets))
        facts = [(s.source, s.fingerprint, s.weight, _hash_of(s.records)) for s in streams]
        text = json.dumps([VERSION, BLOCK_RECORDS, seed, global_batch_size, list(self.budgets), shares, facts])
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()
        self._noted = _Noted(cache, self.fingerprint)
        self._block = functools.lru_cache(maxsize=4)(self._make_block)
        self._lock = threading.Lock()

    def check_divisible(self, parts: int, *, who: str = "hosts or devices") -> None:
        """Checks that the rows of a step can be shared evenly by so many hosts, or other parts that `who` names.

        Raises:
          ConfigError: they cannot.
        """
        if self._rows_per_step % parts:
            raise errors.ConfigError(
                f"data.global_batch_size={self._rows_per_step}: {parts} {who} cannot share so many rows; "
                f"choose a multiple of {parts}"
            )

    def tokens(self, source: int, record: int, instruction: int) -> int:
        """Returns the tokens of an entry's row when it stands alone."""
        return int(self._streams[source].lengths.tokens[record, instruction])

    @property
    def num_dropped(self) -> dict[str, int]:
        """Records of each source that were left out because they are too long; sources that lost none are not named."""
        return {stream.source: stream.num_dropped for stream in self._streams if stream.num_dropped}

    def step(self, step: int) -> list[IntArray]:
        """Returns the rows of a step over all hosts; see `rows`."""
        return self.rows(step * self._rows_per_step, (step + 1) * self._rows_per_step)

    def rows(self, start: int, stop: int) -> list[IntArray]:
        """Returns the global rows [start, stop), each the entries of its records, int64 [records, 5] (see COLUMNS).

        Rows count over all hosts, from the first row of step 0.

        Raises:
          UserError: start is below 0 or above stop.
        """
        if not 0 <= start <= stop:
            raise errors.UserError(f"rows {start} to {stop}: start must be 0 or more and not above stop")
        found: list[IntArray] = []
        while start + len(found) < stop:
            number, first = self._find(start + len(found))
            block = self._block(number)
            for row in range(start + len(found) - first, min(stop - first, len(block.starts) - 1)):
                found.append(block.entries[block.starts[row] : block.starts[row + 1]])
        return found

    def outlook(self) -> dict[str, float]:
        """Returns what the first block promises, on average: shares of a row's tokens and slots in use, its records."""
        block = self._block(0)
        num_rows = len(block.starts) - 1
        return {
            "tokens": block.used[0] / (num_rows * self.budgets.tokens),
            "slots": block.used[1] / (num_rows * max(self.budgets.images, 1)),
            "records": len(block.entries) / num_rows,
        }

    def _find(self, row: int) -> tuple[int, int]:
        """Returns the block of a global row, and the first row of that block."""
        with self._lock:
            ends = self._noted.ends
            if not len(ends) or row >= ends[-1]:
                ends = self._count_to(row)
            number = int(np.searchsorted(ends, row, side="right"))
            return number, int(ends[number - 1]) if number else 0

    def _count_to(self, row: int) -> IntArray:
        """Returns the ends of the blocks up to the one of a row, packing those that were not packed before."""
        ends = self._noted.ends.tolist()
        with progress.Waiting(f"packing rows up to {row:,}"):
            while not ends or row >= ends[-1]:
                block = self._block(len(ends))
                ends.append((ends[-1] if ends else 0) + len(block.starts) - 1)
        self._noted.keep(np.array(ends, np.int64))
        return self._noted.ends

    def _draw_order(self, number: int, epoch: int) -> npt.NDArray[np.uint32]:
        """Returns the places of a stream's records in the order of one epoch."""
        size = len(self._streams[number].records)
        drawn = np.empty(size, np.uint64)
        for first in range(0, size, _PORTION):
            # The hash's upper half and the place in one number: sorted in place, they need half of argsort's memory.
            hashes = self._hashes(number, epoch, slice(first, first + _PORTION))
            places = np.arange(first, first + len(hashes), dtype=np.uint64)
            drawn[first : first + len(hashes)] = hashes & np.uint64(0xFFFFFFFF00000000) | places
        drawn.sort()
        return drawn.astype(np.uint32)  # the lower half

    def _hashes(self, number: int, epoch: int, places: slice) -> npt.NDArray[np.uint64]:
        """Returns what a stream's records are sorted by in an epoch: a hash of their pictures, or one of their own."""
        stream = self._streams[number]
        records = stream.records[places]
        keys = stream.lengths.keys[records] if self._shares else np.zeros(len(records), np.uint64)
        alone = keys == 0
        hashes = scrambled(keys, rng.fold(self._seed, "pictures", epoch))
        if alone.any():
            own = rng.fold(self._seed, "epoch", stream.source, epoch)
            hashes[alone] = scrambled(records[alone].astype(np.uint64), own)
        return hashes

    def _drawn(self, number: int, block: int) -> IntArray:
        """Returns the entries of a stream in a block, group 0, int64 [count, 5]."""
        stream, count = self._streams[number], int(self._counts[number])
        entries = np.zeros((count, len(COLUMNS)), np.int64)
        entries[:, 0] = number
        size, done = len(stream.records), 0
        while done < count:
            epoch, place = divmod(block * count + done, size)
            part = entries[done : min(done + size - place, count)]
            part[:, 1] = stream.records[self._order(number, epoch)[place : place + len(part)]]
            part[:, 2] = epoch
            if pool := stream.lengths.tokens.shape[1] - 1:
                seed = rng.fold(self._seed, "instruction", stream.source, epoch)
                drawn = scrambled(part[:, 1].astype(np.uint64), seed) >> np.uint64(16)
                part[:, 3] = 1 + (drawn % np.uint64(pool)).astype(np.int64)
            done += len(part)
        return entries

    def _costs(self, number: int, records: IntArray, instructions: IntArray) -> IntArray:
        """Returns tokens, pictures, targets and shared tokens of a stream's records, int64 [records, 4]."""
        stream = self._streams[number]
        costs = np.empty((len(records), 4), np.int64)
        costs[:, 0] = stream.lengths.tokens[records, instructions]
        costs[:, 1] = stream.num_images[records]
        costs[:, 2] = stream.lengths.targets[records]
        costs[:, 3] = stream.lengths.shared[records]
        return costs

    def _keys(self, number: int, records: IntArray) -> npt.NDArray[np.uint64]:
        return self._streams[number].lengths.keys[records] if self._shares else np.zeros(len(records), np.uint64)

    def _grouped(self, number: int, budgets: bins.Budgets) -> tuple[IntArray, IntArray]:
        """Returns the entries of a block group by group, and the costs of the groups, int64 [groups, 3]."""
        drawn = [self._drawn(stream, number) for stream in range(len(self._streams))]
        costs = np.concatenate([self._costs(n, part[:, 1], part[:, 3]) for n, part in enumerate(drawn)])
        keys = np.concatenate([self._keys(n, part[:, 1]) for n, part in enumerate(drawn)])
        order, begins, sums = _groups(costs, keys, budgets)
        entries = np.concatenate(drawn)[order]
        entries[:, 4] = np.cumsum(begins) - 1
        return entries, sums

    def _needed_targets(self, budgets: bins.Budgets) -> int:
        """Returns the targets that a full row may need, in eights, from about a block of records that would meet."""
        costs, keys = [], []
        for number, (stream, count) in enumerate(zip(self._streams, self._counts.tolist(), strict=True)):
            bound = np.uint64(min(count / len(stream.records), 1.0) * 2**32)  # of the hash's upper half
            found = [
                np.flatnonzero(self._hashes(number, 0, slice(first, first + _PORTION)) >> np.uint64(32) < bound) + first
                for first in range(0, len(stream.records), _PORTION)
            ]
            records = stream.records[np.concatenate(found)]
            costs.append(self._costs(number, records, np.zeros(len(records), np.int64)))
            keys.append(self._keys(number, records))
        _, _, sums = _groups(np.concatenate(costs), np.concatenate(keys), budgets._replace(targets=budgets.tokens))
        mean = sums[:, 2].sum() / max(sums[:, 0].sum(), 1) * budgets.tokens * _TARGETS_SPARE
        largest = max(int(stream.lengths.targets[stream.records].max()) for stream in self._streams)
        return int(min(-(-max(mean, largest) // 8) * 8, budgets.tokens))

    def _make_block(self, number: int) -> Block:
        entries, costs = self._grouped(number, self.budgets)
        rows = bins.pack(costs, self.budgets)
        num_rows = int(rows.max()) + 1
        drawn = rng.generator(self._seed, "rows", number).permutation(num_rows)
        row_of = drawn[rows][entries[:, 4]]
        order = np.argsort(row_of, kind="stable")
        starts = np.searchsorted(row_of[order], np.arange(num_rows + 1))
        return Block(entries[order], starts.astype(np.int64), costs.sum(axis=0))


def _groups(
    costs: IntArray, keys: npt.NDArray[np.uint64], budgets: bins.Budgets
) -> tuple[IntArray, npt.NDArray[np.bool_], IntArray]:
    """Returns the order of records that puts those of a group together, where groups begin in it, and their costs.

    Args:
      costs: Tokens, pictures, targets and shared tokens of each record, int64 [records, 4].
      keys: What records of a group have in common; 0: a record alone.
      budgets: Of a row, which no group exceeds.
    """
    order = np.argsort(keys, kind="stable")
    costs, keys = costs[order], keys[order]
    begins = np.ones(len(keys), bool)
    begins[1:] = (keys[1:] != keys[:-1]) | (keys[1:] == 0)
    begins = _split(begins, costs, budgets)
    first = np.flatnonzero(begins)
    own = np.where(begins, costs[:, 0], costs[:, 0] - costs[:, 3])
    sums = [np.add.reduceat(own, first), costs[first, 1], np.add.reduceat(costs[:, 2], first)]
    return order, begins, np.stack(sums, axis=1)


def _split(begins: npt.NDArray[np.bool_], costs: IntArray, budgets: bins.Budgets) -> npt.NDArray[np.bool_]:
    """Returns the begins of groups, of which those too large for one row begin anew inside."""
    first = np.flatnonzero(begins)
    ends = np.append(first[1:], len(begins))
    own = costs[:, 0] - costs[:, 3]
    large = (np.add.reduceat(own, first) + costs[first, 3] > budgets.tokens) | (
        np.add.reduceat(costs[:, 2], first) > budgets.targets
    )
    begins = begins.copy()
    for start, stop in zip(first[large].tolist(), ends[large].tolist(), strict=True):
        members = zip(own[start:stop].tolist(), costs[start:stop, 2].tolist(), strict=True)
        parts = np.array(bins.split(list(members), shared=int(costs[start, 3]), budgets=budgets))
        begins[start + 1 : stop] = parts[1:] != parts[:-1]
    return begins


def scrambled(numbers: npt.NDArray[np.uint64], seed: int) -> npt.NDArray[np.uint64]:
    """Returns a hash of each number and the seed (the finaliser of splitmix64, which is one-to-one)."""
    found = numbers + np.uint64(seed & 0xFFFFFFFFFFFFFFFF)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        found ^= found >> np.uint64(shift)
        found *= np.uint64(factor)
    found ^= found >> np.uint64(31)
    return found


def _hash_of(records: IntArray) -> str:
    return hashlib.sha256(np.ascontiguousarray(records, np.int64).tobytes()).hexdigest()[:16]


class _Noted:
    """The file that says at which row each block ends; a cache, which can be made again at any time."""

    def __init__(self, folders: Sequence[pathlib.Path], fingerprint: str) -> None:
        self._folders, self._fingerprint = folders, fingerprint
        self._name = f"rows-{fingerprint[:16]}.npz"
        self.ends: IntArray = np.zeros(0, np.int64)
        for folder in folders:
            found = kept_arrays.read(folder / self._name, fingerprint, columns={"ends": "i8"})
            if found is not None and (np.diff(found["ends"], prepend=0) > 0).all():
                self.ends = found["ends"]
                break

    def keep(self, ends: IntArray) -> None:
        self.ends = ends
        kept_arrays.write(self._folders, self._name, fingerprint=self._fingerprint, arrays={"ends": ends})
