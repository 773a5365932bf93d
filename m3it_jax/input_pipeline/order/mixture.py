"""The order of records as arithmetic: (seed, step) gives the rows of that step, with no state and no replay.

Three words. A *stream* is all records of one source with the same number of pictures. A *bucket* is all streams with
the same number of pictures; the rows of a step come from one bucket, so every bucket has one static shape. A *block*
is a run of steps (or of a bucket's rows) in which each bucket (stream) has a fixed count, in an order drawn for that
block alone. What a step holds is found by dividing its number by the block's length: nothing earlier is looked at.
Where large pictures are cut into tiles, each tile and the overview count as a picture here (`picture_slots`).
"""

import dataclasses
import difflib
import functools
import hashlib
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from m3it_jax import config as configuration
from m3it_jax import errors, licences, records, rng
from m3it_jax.input_pipeline.order import held_pictures, picture_slots
from m3it_jax.input_pipeline.pixels import tiling

# CHOICE: long enough that a source with one part in a hundred is met once a block, short enough that the shares hold
# over any stretch of training that a learning curve shows.
BLOCK_STEPS = 100
BLOCK_ROWS = 256

IntArray = npt.NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class Stream:
    """All records of one source that have the same number of pictures.

    Attributes:
      source: The source's name.
      source_index: Its place among the sorted names of the mixture's sources.
      num_images: Pictures of each record.
      records: Numbers of the records in the source's table, rising.
      weight: Share of all rows, in any unit.
    """

    source: str
    source_index: int
    num_images: int
    records: IntArray
    weight: float


@dataclasses.dataclass(frozen=True)
class _Bucket:
    num_images: int
    rows_per_step: int
    streams: tuple[Stream, ...]
    counts: IntArray  # rows of each stream in a block of BLOCK_ROWS


class Plan:
    """Which records stand in which step. Every method is a pure function of the constructor's arguments.

    Attributes:
      source_names: Sorted names of the sources; a row's source index points into it.
      num_records: Records of all streams.
      fingerprint: Hexadecimal hash of everything that the order depends on but the records' content.
    """

    def __init__(self, streams: Sequence[Stream], *, seed: int, global_batch_size: int, max_images: int):
        """Lays out buckets and blocks.

        Raises:
          ConfigError: no records, or `max_images` is smaller than the pictures of one record.
        """
        if not streams:
            raise errors.ConfigError("data.mixture: no source has a record in data.split; choose another split or data")
        self._seed = seed
        self.source_names = sorted({stream.source for stream in streams})
        self.num_records = sum(len(stream.records) for stream in streams)
        self._buckets = [
            # Rows of text alone have no picture to be limited by.
            _bucket(
                [s for s in streams if s.num_images == n],
                min(global_batch_size, max_images // n) if n else global_batch_size,
                max_images,
            )
            for n in sorted({stream.num_images for stream in streams})
        ]
        # Weights are shares of rows: a bucket with small steps needs more of them for the same share.
        per_bucket = [sum(s.weight for s in bucket.streams) / bucket.rows_per_step for bucket in self._buckets]
        self._step_counts = apportion(per_bucket, BLOCK_STEPS)
        self._block_rows = int(sum(c * b.rows_per_step for c, b in zip(self._step_counts, self._buckets, strict=True)))
        facts = [(s.source, s.num_images, len(s.records), s.weight) for b in self._buckets for s in b.streams]
        text = json.dumps([seed, global_batch_size, max_images, BLOCK_STEPS, BLOCK_ROWS, facts])
        self.fingerprint = hashlib.sha256(text.encode()).hexdigest()
        # Caches only: what they hold can be computed again at any time.
        self._step_block = functools.lru_cache(maxsize=4)(self._draw_step_block)
        self._row_block = functools.lru_cache(maxsize=4 * len(self._buckets))(self._draw_row_block)
        self._permutation = functools.lru_cache(maxsize=2 * len(streams))(self._draw_permutation)

    def rows_per_step(self) -> dict[int, int]:
        """Returns the rows of a step over all hosts for each number of pictures that occurs."""
        return {bucket.num_images: bucket.rows_per_step for bucket in self._buckets}

    def check_divisible(self, parts: int, *, who: str = "hosts or devices") -> None:
        """Checks that the rows of every step can be shared evenly by so many hosts, or other parts that `who` names.

        Raises:
          ConfigError: those of some bucket cannot.
        """
        for num_images, rows in self.rows_per_step().items():
            if rows % parts:
                raise errors.ConfigError(
                    f"data.global_batch_size, data.max_images: a step of rows with {num_images} pictures has {rows} "
                    f"rows, which {parts} {who} cannot share; choose multiples of "
                    f"{parts * max(num_images, 1)}"
                )

    def step(self, step: int) -> tuple[int, IntArray]:
        """Returns the pictures of each row of the step, and its rows over all hosts.

        Each row is (source index, record number in the source's table, epoch of that stream), shape [rows, 3].
        """
        block, place = divmod(step, BLOCK_STEPS)
        order = self._step_block(block)
        number = int(order[place])
        bucket = self._buckets[number]
        earlier = block * int(self._step_counts[number]) + int((order[:place] == number).sum())
        first = earlier * bucket.rows_per_step
        return bucket.num_images, self._bucket_rows(number, first, first + bucket.rows_per_step)

    def successor(self, source: int, record: int, num_images: int) -> int:
        """Returns the number of the record behind another of its stream, of the first one behind the last."""
        bucket = next(bucket for bucket in self._buckets if bucket.num_images == num_images)
        numbers = next(stream.records for stream in bucket.streams if stream.source_index == source)
        return int(numbers[(int(np.searchsorted(numbers, record)) + 1) % len(numbers)])

    def rows(self, start: int, stop: int) -> IntArray:
        """Returns the global rows [start, stop): the rows of steps 0, 1, 2 ... one after another, shape [rows, 3]."""
        if not 0 <= start <= stop:
            raise errors.UserError(f"rows {start} to {stop}: start must be 0 or more and not above stop")
        block = start // self._block_rows
        step, row = block * BLOCK_STEPS, block * self._block_rows
        parts = [np.zeros((0, 3), np.int64)]
        while row < stop:
            _, rows = self.step(step)
            parts.append(rows[max(start - row, 0) : stop - row])
            step, row = step + 1, row + len(rows)
        return np.concatenate(parts)

    def _draw_step_block(self, block: int) -> IntArray:
        """Returns the bucket of each of the block's steps."""
        buckets = np.repeat(np.arange(len(self._buckets)), self._step_counts)
        return rng.generator(self._seed, "steps", block).permutation(buckets)

    def _draw_row_block(self, number: int, block: int) -> tuple[IntArray, IntArray]:
        """Returns for each of the block's rows its stream in the bucket, and how often that stream was met before."""
        bucket = self._buckets[number]
        order = np.repeat(np.arange(len(bucket.streams)), bucket.counts)
        order = rng.generator(self._seed, "rows", bucket.num_images, block).permutation(order)
        met = np.zeros(BLOCK_ROWS, np.int64)
        for stream, count in enumerate(bucket.counts):
            met[order == stream] = block * count + np.arange(count)
        return order, met

    def _draw_permutation(self, number: int, stream: int, epoch: int) -> IntArray:
        """Returns the stream's record numbers in the order of one epoch; other streams have no say in it."""
        drawn = self._buckets[number].streams[stream]
        return rng.generator(self._seed, "epoch", drawn.source, drawn.num_images, epoch).permutation(drawn.records)

    def _bucket_rows(self, number: int, start: int, stop: int) -> IntArray:
        """Returns the bucket's own rows [start, stop), shape [rows, 3]."""
        bucket = self._buckets[number]
        rows = np.empty((stop - start, 3), np.int64)
        for place, row in enumerate(range(start, stop)):
            block, within = divmod(row, BLOCK_ROWS)
            order, met = self._row_block(number, block)
            stream = int(order[within])
            drawn = bucket.streams[stream]
            epoch, element = divmod(int(met[within]), len(drawn.records))
            rows[place] = drawn.source_index, self._permutation(number, stream, epoch)[element], epoch
        return rows


def apportion(weights: Sequence[float], total: int) -> IntArray:
    """Returns whole counts that sum to `total` in the weights' shares (largest remainder), each at least 1."""
    if len(weights) > total:
        raise errors.ConfigError(f"data.mixture: {len(weights)} streams do not fit into a block of {total}; use fewer")
    ideal = np.asarray(weights, np.float64) / float(np.sum(weights)) * total
    counts = np.maximum(np.floor(ideal).astype(np.int64), 1)
    while counts.sum() < total:
        counts[np.argmax(ideal - counts)] += 1
    while counts.sum() > total:
        counts[np.argmin(np.where(counts > 1, ideal - counts, np.inf))] -= 1
    return counts


def _bucket(streams: Sequence[Stream], rows_per_step: int, max_images: int) -> _Bucket:
    num_images = streams[0].num_images
    if rows_per_step < 1:
        raise errors.ConfigError(
            f"data.max_images={max_images}: source {streams[0].source!r} has records with {num_images} pictures; "
            f"set it to {num_images} or more"
        )
    counts = apportion([stream.weight for stream in streams], BLOCK_ROWS)
    return _Bucket(num_images, rows_per_step, tuple(streams), counts)


def make_streams(
    num_images: Mapping[str, npt.NDArray[Any]],
    weights: Mapping[str, float],
    chosen: Mapping[str, IntArray] | None = None,
) -> list[Stream]:
    """Returns the streams of a mixture, sorted by source and number of pictures.

    Args:
      num_images: For each source that could be read, the pictures of each record.
      weights: Shares of rows by source; empty takes every source by its number of records.
      chosen: Numbers of the records to take of a source, rising; all of a source that is not named.

    Raises:
      ConfigError: a source of `weights` is unknown or has no record.
    """
    for name in weights:
        if name not in num_images:
            near = difflib.get_close_matches(name, num_images, n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there are {', '.join(sorted(num_images))}"
            raise errors.ConfigError(f"data.mixture[{name!r}]: no such source in the data folder; {hint}")
        if not len(num_images[name]):
            raise errors.ConfigError(f"data.mixture[{name!r}]: the source has no record in data.split; drop it")
    names = sorted(weights or (name for name, counts in num_images.items() if len(counts)))
    streams = []
    for index, name in enumerate(names):
        counts = np.asarray(num_images[name])
        numbers = (chosen or {}).get(name, np.arange(len(counts), dtype=np.int64))
        weight = float(weights.get(name, len(numbers)))
        for pictures in np.unique(counts[numbers]):
            records = numbers[counts[numbers] == pictures]
            streams.append(Stream(name, index, int(pictures), records, weight * len(records) / len(numbers)))
    return streams


def dropped(folder: records.DataFolder, data: configuration.DataConfig) -> dict[str, str]:
    """Returns the sources that `data.allow` leaves out of the mixture, with their licences."""
    allow = [word for word in data.allow.split(",") if word]
    wanted = data.mixture or folder.sources
    return {
        name: info.licence
        for name, info in folder.sources.items()
        if name in wanted and not licences.allowed(info.licence, allow)
    }


def available(folder: records.DataFolder, data: configuration.DataConfig, *, seed: int) -> dict[str, float]:
    """Returns the mixture without the sources that have no record in `data.split`: weights as given, or sizes.

    Raises:
      UserError: a record cannot be read (with `data.validation_share`).
    """
    found = {}
    for name in data.mixture or folder.sources:
        if name in folder.sources and name not in dropped(folder, data):
            split, numbers = held_pictures.part(folder, data, name, seed=seed)
            size = folder.sources[name].splits.get(split, 0) if numbers is None else len(numbers)
            if size:
                found[name] = data.mixture.get(name, float(size))
    return found


def loss_by_task(folder: records.DataFolder, data: configuration.DataConfig) -> list[str]:
    """Returns a line for each task that loses records to `data.allow`: how many of how many, and which sources."""
    left_out = dropped(folder, data)
    lines = []
    for task in sorted({folder.sources[name].task for name in left_out}):
        names = [name for name in data.mixture or folder.sources if folder.sources[name].task == task]
        every = {name: folder.sources[name].splits.get(data.split, 0) for name in names}
        lost = {name: number for name, number in every.items() if name in left_out}
        share = f"{sum(lost.values()):,} of {sum(every.values()):,} records"
        lines.append(f"data.allow={data.allow}: {task} loses {share} ({', '.join(sorted(lost))})")
    return lines


def make_plan(
    folder: records.DataFolder,
    data: configuration.DataConfig,
    *,
    objective: str,
    seed: int,
    cut: tiling.Tiling = tiling.Tiling(),  # noqa: B008  (frozen)
) -> Plan:
    """Returns the order for a data folder; reads its index files, and with tiles their counts (`picture_slots`).

    Raises:
      ConfigError: see `make_streams` and `Plan`.
    """
    found = streams(folder, data, objective=objective, seed=seed, cut=cut)
    return Plan(found, seed=seed, global_batch_size=data.global_batch_size, max_images=data.max_images)


def streams(
    folder: records.DataFolder,
    data: configuration.DataConfig,
    *,
    objective: str,
    seed: int,
    cut: tiling.Tiling = tiling.Tiling(),  # noqa: B008  (frozen)
) -> list[Stream]:
    """Returns the streams of a data folder; reads its index files, and with tiles their counts (`picture_slots`).

    `objective` is the kind of rows, `response` or `towers`. With `towers` a row shows one picture of its record, so all
    records share one bucket.

    Raises:
      ConfigError: see `make_streams`.
    """
    counts, chosen = {}, {}
    left_out = dropped(folder, data)
    weights = {name: weight for name, weight in data.mixture.items() if name not in left_out}
    for name in data.mixture or folder.sources:
        if name not in folder.sources or name in left_out:
            continue
        split, numbers = held_pictures.part(folder, data, name, seed=seed)
        if folder.sources[name].splits.get(split) and (numbers is None or len(numbers)):
            pictures = picture_slots.load(folder, name, split, cut=cut)
            if objective == "towers":  # a tower learns nothing of a row without a picture
                numbers = np.flatnonzero(pictures) if numbers is None else numbers[pictures[numbers] > 0]
                pictures = np.ones_like(pictures)
            if numbers is None or len(numbers):
                counts[name] = pictures
            if numbers is not None:
                chosen[name] = numbers
    counts = counts | {name: np.zeros(0, np.int64) for name in folder.sources if name not in counts}
    if data.mixture and not weights:
        raise errors.ConfigError(f"data.allow={data.allow!r}: no source of data.mixture is under such a licence")
    sizes = {name: float(len(chosen.get(name, pictures))) for name, pictures in counts.items() if len(pictures)}
    return make_streams(counts, tempered(weights, sizes, data), chosen)


def tempered(
    weights: Mapping[str, float], sizes: Mapping[str, float], data: configuration.DataConfig
) -> Mapping[str, float]:
    """Returns the weights with `data.source_cap` and `data.temperature`; empty if each source counts by its size.

    Both are those of T5 (arXiv 1910.10683, section 3.5.2): sizes up to a limit, then the 1/T-th power.

    Args:
      weights: Of `data.mixture`, as given; empty takes the sizes.
      sizes: Records of each source.
      data: Where cap and temperature stand.
    """
    if data.temperature == 1 and not data.source_cap:
        return weights
    limit = data.source_cap or float("inf")
    found = weights or {name: min(size, limit) for name, size in sizes.items()}
    largest = max(found.values(), default=1.0)
    return {name: (weight / largest) ** (1 / data.temperature) for name, weight in found.items()}


def mixture_order(config: configuration.Experiment, start: int, stop: int) -> list[str]:
    """Returns the record ids of the training rows [start, stop), in the order in which they are trained on.

    Rows count over all hosts, from the first row of step 0. Only the data folder's index files are read, no picture.

    Raises:
      UserError: the data folder is missing or damaged, or the range is none.
      ConfigError: the mixture names a source that is not there.
    """
    folder = records.DataFolder.open(config.data.path)
    rows = "response" if config.objective == "response" else "towers"  # each objective but one trains a tower
    plan = make_plan(folder, config.data, objective=rows, seed=config.seed)
    splits = {name: held_pictures.part(folder, config.data, name, seed=config.seed)[0] for name in plan.source_names}
    ids = {name: folder.table(name, splits[name]).ids for name in plan.source_names}
    return [str(ids[plan.source_names[source]][record]) for source, record, _ in plan.rows(start, stop)]
