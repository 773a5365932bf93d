"""Rows of a step -> their records and pixels: all cores decode, and a row that cannot be read takes its successor.

A record whose checksum does not hold, or whose picture cannot be decoded, is replaced by the next record of its stream
(`Plan.successor`), and by the one after that if need be. What is lost depends on the data alone, so a batch stays a
pure function of its step on any number of hosts. Each is told once, and too many stop the run (`data.max_bad_share`).
"""

import concurrent.futures
import functools
import itertools
import os
import sys
import threading
from collections.abc import Callable, Sequence

import numpy as np

from m3it_jax import errors, records, schema
from m3it_jax.input_pipeline.order import token_lengths
from m3it_jax.input_pipeline.order.mixture import Plan
from m3it_jax.input_pipeline.order.packed_plan import PackedPlan
from m3it_jax.input_pipeline.pixels import decoders, preprocessing, tiling
from m3it_jax.records.framing import BrokenRecordError

# (record, epoch) -> the pictures that its row shows and how they are cut, as many slots for every row of a step.
Shown = Callable[[schema.Instance, int], Sequence[tiling.Shot]]


def num_cores() -> int:
    """Returns the cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@functools.cache
def _pool() -> concurrent.futures.ThreadPoolExecutor:
    return concurrent.futures.ThreadPoolExecutor(num_cores(), thread_name_prefix="pictures")


def decode_all(
    shots: Sequence[tiling.Shot], out: np.ndarray, *, fit: str, by: decoders.Decoders
) -> dict[int, preprocessing.PictureError]:
    """Writes pictures into `out`, uint8 [slots, h, w, 3], with all cores; returns what is wrong with those that fail.

    The threads hold Python's lock while they look at a header, and not while they decode and resize.
    """
    failed: dict[int, preprocessing.PictureError] = {}
    ends = list(itertools.accumulate((cut.slots for _, cut in shots), initial=0))
    numbers = iter(range(len(shots)))  # each thread takes the next one: pictures differ in size

    def work() -> None:
        for number in numbers:
            try:
                tiling.decode(shots[number], out[ends[number] : ends[number + 1]], fit=fit, by=by)
            except preprocessing.PictureError as error:
                failed[number] = error

    others = [_pool().submit(work) for _ in range(min(num_cores(), len(shots)) - 1)]
    work()
    for other in others:
        other.result()
    return failed


class BadRecords:
    """The records of a run that could not be read.

    Attributes:
      told: Record id -> what is wrong with it, in the order in which they were met.
    """

    def __init__(self, num_records: int, max_share: float):
        """Takes the records of the mixture, and which share of them (0..1) may be bad."""
        self.told: dict[str, str] = {}
        self._num_records, self._max_share = num_records, max_share
        self._lock = threading.Lock()

    def add(self, record_id: str, error: errors.UserError, *, instead: str = "") -> None:
        """Notes a bad record and tells of it, if it is not known yet; `instead` is the record in its place, if any.

        Raises:
          UserError: too many are bad.
        """
        with self._lock:
            if record_id in self.told:
                return
            self.told[record_id] = str(error)
            number = len(self.told)
        if number > self._max_share * self._num_records:
            more = "" if number == 1 else f"{number} of {self._num_records:,} records cannot be read: "
            raise errors.UserError(
                f"{more}record {record_id}: {error}; or raise data.max_bad_share={self._max_share:g}, the share of "
                "records that may be replaced by the next ones of their sources"
            ) from error
        place = f"{instead} takes its place" if instead else "its row goes without it"
        sys.stderr.write(
            f"m3it: record {record_id}: {error}; {place} ({number} so far, more than "
            f"{self._max_share * self._num_records:,.0f} stop the run)\n"
        )


class RowReader:
    """Reads the rows of steps.

    Attributes:
      bad: What could not be read so far.
    """

    def __init__(
        self,
        plan: Plan | PackedPlan,
        tables: Sequence[records.RecordTable],
        *,
        image_size: int,
        image_fit: str,
        max_bad_share: float,
    ):
        """Takes the order and the tables of its sources, in the order of `plan.source_names`; nothing is read yet."""
        self.bad = BadRecords(plan.num_records, max_bad_share)
        self._plan, self._tables = plan, tables
        self._size, self._fit = image_size, image_fit

    def read(
        self, rows: np.ndarray, num_images: int, *, shown: Shown | None
    ) -> tuple[list[schema.Instance], np.ndarray]:
        """Returns the record of each row and the pixels of what it shows, uint8 [rows * slots, h, w, 3].

        Args:
          rows: [rows, 3] of `Plan.step`.
          num_images: Slots of each row, as `Plan.step` says: tells in which bucket a successor is sought.
          shown: Which pictures a row shows; None reads the texts alone.

        Raises:
          UserError: too many records are bad, or a file is missing.
        """
        planned = rows.tolist()
        found = [self._record(source, record, num_images, first=record) for source, record, _ in planned]
        instances = [instance for _, instance in found]
        if shown is None:
            return instances, np.empty((0, self._size, self._size, 3), np.uint8)
        shots = [shown(instance, row[2]) for instance, row in zip(instances, planned, strict=True)]
        for instance, own in zip(instances, shots, strict=True):
            _check_slots(instance, own, num_images)
        owners = [place for place, own in enumerate(shots) for _ in own]  # of each picture, its row
        pixels = np.empty((len(rows), num_images, self._size, self._size, 3), np.uint8)
        flat, by = pixels.reshape(-1, self._size, self._size, 3), decoders.fastest()
        failed = decode_all(list(itertools.chain(*shots)), flat, fit=self._fit, by=by)
        for place in sorted({owners[number] for number in failed}):
            source, first, epoch = planned[place]
            again = {number: failed[number] for number in failed if owners[number] == place}
            record = found[place][0]
            while again:
                following = self._successor(source, record, num_images, first=first, error=again[min(again)])
                record, instances[place] = self._record(source, following, num_images, first=first)
                shots[place] = shown(instances[place], epoch)
                _check_slots(instances[place], shots[place], num_images)
                again = decode_all(shots[place], pixels[place], fit=self._fit, by=by)
        return instances, flat

    def pictures(self, shots: Sequence[tiling.Shot]) -> np.ndarray:
        """Returns pictures, uint8 [slots, h, w, 3].

        Raises:
          PictureError: one cannot be decoded.
        """
        slots = sum(cut.slots for _, cut in shots)
        pixels = np.empty((slots, self._size, self._size, 3), np.uint8)
        for error in decode_all(shots, pixels, fit=self._fit, by=decoders.fastest()).values():
            raise error
        return pixels

    def _record(self, source: int, record: int, num_images: int, *, first: int) -> tuple[int, schema.Instance]:
        """Returns the number of a record and the record, or those of the first successor whose checksum holds."""
        while True:
            try:
                return record, self._tables[source].read(record)
            except BrokenRecordError as error:
                record = self._successor(source, record, num_images, first=first, error=error)

    def _successor(self, source: int, record: int, num_images: int, *, first: int, error: errors.UserError) -> int:
        """Returns the number of the record behind a bad one; `first` is the one that the order names.

        Raises:
          UserError: there is no other, or too many are bad.
        """
        assert isinstance(self._plan, Plan)  # rows of a packed plan are not read here
        ids = self._tables[source].ids
        following = self._plan.successor(source, record, num_images)
        self.bad.add(str(ids[record]), error, instead=str(ids[following]))
        if following == first:
            name = self._plan.source_names[source]
            raise errors.UserError(f"{name}: no record with {num_images} pictures can be read ({error})")
        return following


def _check_slots(instance: schema.Instance, shots: Sequence[tiling.Shot], planned: int) -> None:
    """Refuses a record whose pictures take other slots than the order says (UserError)."""
    slots = sum(cut.slots for _, cut in shots)
    if slots != planned:
        raise errors.UserError(
            f"record {instance.id}: its pictures take {slots} slots, the counts beside the data say {planned}; the "
            f"records were changed under their fingerprint: delete the folder {token_lengths.FOLDER}, or build the "
            "data again"
        )
