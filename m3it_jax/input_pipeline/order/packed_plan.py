"""The order of packed rows as arithmetic: (seed, step) gives the rows of that step, the same for every number of hosts.

A *stream* is all records of one source. A *block* is a fixed number of rows and, of each stream, a fixed number of
records: the shares of the mixture are exact to one record in every block. Where the sources are met by their sizes, a
block is `STRATA` whole clusters of pictures instead (`picture_order`): as many records to a few, and all sources end
their epochs together. The records of a block are grouped by what they share, the groups are packed into its rows
(`bins`), and the rows get an order drawn for that block. In each epoch records about one picture are neighbours, and
sources that advance at one pace meet at their common pictures.

How many rows a block has is found once, from trial blocks: so many that the records of all of them fit, and
some more. What does not fit all the same goes into the next block, whose rows have as much to spare. So nothing is ever
counted: the block of a step is a division.
"""

import dataclasses
import functools
import hashlib
import itertools
import json
import math
import statistics
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from m3it_jax import errors, rng
from m3it_jax.input_pipeline.order import bins, grouping
from m3it_jax.input_pipeline.order.mixture import IntArray
from m3it_jax.input_pipeline.order.picture_order import Drawn, PictureOrder
from m3it_jax.input_pipeline.order.token_lengths import Lengths

# CHOICE: about the rows of a block if its records shared nothing, of 200, 300, 400 and 600. Larger blocks need less to
# spare; any 256 rows are made of smaller ones sooner.
BLOCK_ROWS = 300
_TRIALS = 12  # blocks from which is found how many records fill the rows
_TRIED = 1 << 16  # the trial blocks are some of so many
_SPARE = 2.0  # deviations of what the trial blocks need that rows are left free for, above the most that one needs
# CHOICE: times the mean tokens to learn from in a full row, so that this budget seldom closes one. The output head on
# as many more places costs a full-size model less than a percent.
_TARGETS_SPARE = 2.0
_PORTION = 1 << 15  # records that are looked at together, so that looking takes little memory
VERSION = 2  # of the way in which rows are made

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
class _Packed:
    """The records of a block in its rows, without those of the block before.

    Attributes:
      entries: int64 [records, 5], see COLUMNS; the group counts over the block.
      costs: Tokens, pictures and targets of each group, int64 [groups, 3].
      rows: Row of each group, -1 for what fits into none, int64 [groups].
      free: What is left of each row's budgets, int64 [rows, 3].
    """

    entries: IntArray
    costs: IntArray
    rows: IntArray
    free: IntArray


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
      block_rows: Rows of a block.
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
    ):
        """Lays out the blocks.

        Args:
          streams: In the order of their names.
          seed: Decides order and instructions.
          global_batch_size: Rows of a step, over all hosts.
          budgets: Of a row; targets 0 takes what the trial blocks need.
          shares: Whether records with one key share their beginning.
        """
        self._streams, self._seed, self._shares = list(streams), seed, shares
        self._rows_per_step = global_batch_size
        self.source_names = [stream.source for stream in streams]
        self.num_records = sum(len(stream.records) for stream in streams)
        self._pools = np.array([stream.lengths.tokens.shape[1] - 1 for stream in streams], np.int64)
        weights = [stream.weight for stream in streams]
        self._shares_of = np.array(weights, np.float64) / float(sum(weights))
        num_blocks = max(round(self.num_records / self._guess(budgets)), 1)
        self._block_records = self._shares_of * (self.num_records / num_blocks)  # of each stream, float64
        sizes = [len(stream.records) for stream in streams]
        paces = [stream.weight / len(stream.records) for stream in streams]
        self._has_one_pace = max(paces) - min(paces) < 1e-9 * max(paces)
        self._order = PictureOrder(sizes, self._hashes, seed=seed, num_blocks=num_blocks)
        self._order.deal_by(self._cluster_costs())
        self._set_rows(budgets)
        facts = [(s.source, s.fingerprint, s.weight, _hash_of(s.records)) for s in streams]
        facts_of_rows = [self.block_rows, num_blocks, global_batch_size, list(self.budgets)]
        text = json.dumps([VERSION, seed, facts_of_rows, shares, facts])
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()
        # Caches only: what they hold can be computed again at any time.
        self._block = functools.lru_cache(maxsize=4)(self._make_block)
        self._packed = functools.lru_cache(maxsize=4)(self._pack)

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
            number, first = divmod(start + len(found), self.block_rows)
            block = self._block(number)
            last = min(first + stop - start - len(found), self.block_rows)
            bounds = block.starts[first : last + 1].tolist()
            found += [block.entries[begin:end] for begin, end in itertools.pairwise(bounds)]
        return found

    def outlook(self) -> dict[str, float]:
        """Returns what the first block promises, on average: shares of a row's tokens and slots in use, its records."""
        block = self._block(0)
        return {
            "tokens": block.used[0] / (self.block_rows * self.budgets.tokens),
            "slots": block.used[1] / (self.block_rows * max(self.budgets.images, 1)),
            "records": len(block.entries) / self.block_rows,
        }

    def _guess(self, budgets: bins.Budgets) -> float:
        """Returns how many records may fill `BLOCK_ROWS` rows if none share anything."""
        each = []
        for stream in self._streams:
            tokens, images = stream.lengths.tokens[stream.records, 0], stream.num_images[stream.records]
            means = [int(column.sum(dtype=np.int64)) / len(stream.records) for column in (tokens, images)]
            each.append(max(means[0] / budgets.tokens, means[1] / max(budgets.images, 1)))
        rows = math.fsum(share * need for share, need in zip(self._shares_of.tolist(), each, strict=True))
        return BLOCK_ROWS / rows

    def _hashes(self, number: int, places: slice) -> npt.NDArray[np.uint64]:
        """Returns what a stream's records are sorted by: a hash of their pictures, or one of their own."""
        stream = self._streams[number]
        records = stream.records[places]
        keys = stream.lengths.keys[records] if self._shares else np.zeros(len(records), np.uint64)
        alone = keys == 0
        hashes = scrambled(keys, np.uint64(rng.fold(self._seed, "pictures")))
        if alone.any():
            own = rng.fold(self._seed, "records", stream.source)
            hashes[alone] = scrambled(records[alone].astype(np.uint64), np.uint64(own))
        return hashes

    def _cluster_costs(self) -> IntArray:
        """Returns the tokens of each cluster if all sources meet in it, by the mixture's shares; whole numbers."""
        per_record = self._shares_of * self.num_records / np.array([len(s.records) for s in self._streams])
        paces = np.rint(per_record * 1024).astype(np.int64)
        size = max(self._order.num_clusters * _PORTION // max(self.num_records, 1), 1)
        total = np.zeros(self._order.num_clusters, np.int64)
        for first in range(0, len(total), size):
            clusters = np.arange(first, min(first + size, len(total)))
            found = self._order.within(clusters)
            columns = [
                self._columns(stream, stream.records[places])
                for stream, places in zip(self._streams, found.places, strict=True)
            ]
            costs, keys = (np.concatenate(part) for part in zip(*columns, strict=True))
            order = np.argsort(keys, kind="stable")
            keys = keys[order]
            repeats = np.append(False, (keys[1:] == keys[:-1]) & (keys[1:] != 0))
            own = costs[order, 0] - np.where(repeats, costs[order, 3], 0)
            np.add.at(total, found.clusters[order], own * paces[found.sources[order]])
        return total

    def _entries(self, block: int) -> IntArray:
        """Returns the entries of a block, group 0, int64 [records, 5]."""
        if self._has_one_pace:
            drawn = self._order.stretch(block)
        else:
            begins, ends = (np.floor(number * self._block_records).astype(np.int64) for number in (block, block + 1))
            drawn = self._order.between(begins, ends)
        entries = np.zeros((len(drawn.places), len(COLUMNS)), np.int64)
        entries[:, 0], entries[:, 2] = drawn.sources, drawn.epochs
        for stream, part in self._parts(entries):
            entries[part, 1] = stream.records[drawn.places[part]]
        pools = self._pools[drawn.sources]
        if pools.any():
            chance = scrambled(entries[:, 1].astype(np.uint64), self._instruction_seeds(drawn)) >> np.uint64(16)
            entries[:, 3] = np.where(pools, 1 + chance.astype(np.int64) % np.maximum(pools, 1), 0)
        return entries

    def _instruction_seeds(self, drawn: Drawn) -> npt.NDArray[np.uint64]:
        """Returns for each record a number that source and epoch decide."""
        seed = np.uint64(rng.fold(self._seed, "instructions"))
        of_sources = np.array([rng.fold(0, name) for name in self.source_names], np.uint64)
        return scrambled(of_sources[drawn.sources] + drawn.epochs.astype(np.uint64), seed)

    def _parts(self, entries: IntArray) -> Iterator[tuple[Stream, slice]]:
        """Yields the streams of entries that stand source by source, and where each stands."""
        ends = np.cumsum(np.bincount(entries[:, 0], minlength=len(self._streams))).tolist()
        for stream, first, last in zip(self._streams, [0, *ends], ends, strict=False):
            if first < last:
                yield stream, slice(first, last)

    def _columns(
        self, stream: Stream, records: IntArray, instructions: IntArray | int = 0
    ) -> tuple[IntArray, npt.NDArray[np.uint64]]:
        """Returns tokens, pictures, targets and shared tokens of records, int64 [records, 4], and their keys."""
        lengths = stream.lengths
        costs = np.empty((len(records), 4), np.int64)
        costs[:, 0] = lengths.tokens[records, instructions]
        costs[:, 1] = stream.num_images[records]
        costs[:, 2] = lengths.targets[records]
        costs[:, 3] = lengths.shared[records]
        return costs, lengths.keys[records] if self._shares else np.zeros(len(records), np.uint64)

    def _grouped(self, block: int, budgets: bins.Budgets) -> tuple[IntArray, IntArray]:
        """Returns the entries of a block group by group, and the costs of the groups, int64 [groups, 3]."""
        entries = self._entries(block)
        columns = [self._columns(stream, entries[part, 1], entries[part, 3]) for stream, part in self._parts(entries)]
        costs, keys = (np.concatenate(part) for part in zip(*columns, strict=True))
        order, begins, sums = grouping.groups(costs, keys, budgets)
        entries = entries[order]
        entries[:, 4] = np.cumsum(begins) - 1
        return entries, sums

    def _set_rows(self, budgets: bins.Budgets) -> None:
        """Finds how many rows hold the records of a block, and the targets of a row if none are given."""
        trials = [0, *rng.generator(self._seed, "trials").integers(1, _TRIED, _TRIALS - 1).tolist()]
        room = budgets if budgets.targets else budgets._replace(targets=budgets.tokens)
        sums = [self._grouped(trial, room)[1].sum(axis=0).tolist() for trial in trials]
        needed = [max(total / max(most, 1) for total, most in zip(one, room, strict=True)) for one in sums]
        if not budgets.targets:
            learned = _TARGETS_SPARE * statistics.fmean(one[2] / one[0] for one in sums) * budgets.tokens
            largest = max(int(stream.lengths.targets[stream.records].max()) for stream in self._streams)
            budgets = budgets._replace(targets=int(min(-(-max(learned, largest) // 8) * 8, budgets.tokens)))
        self.budgets = budgets
        self.block_rows = max(math.ceil(max(needed)), 1)
        while any((self._pack(trial).rows < 0).any() for trial in trials):
            self.block_rows += -(-self.block_rows // 400)
        self.block_rows += math.ceil(_SPARE * statistics.pstdev(needed))

    def _pack(self, number: int) -> _Packed:
        entries, costs = self._grouped(number, self.budgets)
        rows, free = bins.pack(costs, self.budgets, num_rows=self.block_rows)
        return _Packed(entries, costs, rows, free)

    def _make_block(self, number: int) -> Block:
        packed = self._packed(number)
        if number and (self._packed(number - 1).rows < 0).any():
            packed = self._with_late(packed, self._packed(number - 1), number=number)
        drawn = np.append(rng.generator(self._seed, "rows", number).permutation(self.block_rows), self.block_rows)
        row_of = drawn[packed.rows][packed.entries[:, 4]]  # row -1: behind the last, for the next block
        order = np.argsort(row_of.astype(np.uint16), kind="stable")
        starts = np.searchsorted(row_of[order], np.arange(self.block_rows + 1))
        used = packed.costs[packed.rows >= 0].sum(axis=0)
        return Block(packed.entries[order][: starts[-1]], starts.astype(np.int64), used)

    def _with_late(self, packed: _Packed, before: _Packed, *, number: int) -> _Packed:
        """Returns a block with the groups that found no room in the one before, where they fit best.

        Raises:
          UserError: they fit nowhere.
        """
        late = before.rows < 0
        groups = np.cumsum(late) - 1 + len(packed.rows)
        entries = before.entries[late[before.entries[:, 4]]]
        entries[:, 4] = groups[entries[:, 4]]
        costs = np.concatenate([packed.costs, before.costs[late]])
        rows, free = np.concatenate([packed.rows, before.rows[late]]), packed.free.copy()
        bins.fill(rows, costs, free, groups=np.arange(len(packed.rows), len(rows)))
        if (rows[len(packed.rows) :] < 0).any():
            raise errors.UserError(
                f"packed rows {number * self.block_rows} to {(number + 1) * self.block_rows}: the records before them "
                "need more room than there is; their lengths differ too much for data.row_len="
                f"{self.budgets.tokens} and {self.budgets.images} pictures a row, raise them"
            )
        return _Packed(np.concatenate([packed.entries, entries]), costs, rows, free)


def _rows_needed(sums: Sequence[int], budgets: bins.Budgets) -> float:
    """Returns how many rows hold so many tokens, pictures and targets, the scarcest of them."""
    return max(total / max(room, 1) for total, room in zip(sums, budgets, strict=True))


def scrambled(numbers: npt.NDArray[np.uint64], seed: np.uint64 | npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """Returns a hash of each number and its seed (the finaliser of splitmix64, which is one-to-one)."""
    found = numbers + seed
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        found ^= found >> np.uint64(shift)
        found *= np.uint64(factor)
    found ^= found >> np.uint64(31)
    return found


def _hash_of(records: IntArray) -> str:
    return hashlib.sha256(np.ascontiguousarray(records, np.int64).tobytes()).hexdigest()[:16]
