"""The records of a split, read by number: from which shard, at which offset, with their checksums."""

import os
import pathlib
import threading
from collections.abc import Mapping
from typing import Any

import numpy as np

from m3it_jax import errors, schema
from m3it_jax.records import framing
from m3it_jax.records.examples import decode
from m3it_jax.records.shard_index import read_index


class RecordTable:
    """The records of one split of one source, read by number in any order. Reading is safe from several threads.

    Attributes:
      ids: array of text, the records' ids.
      num_images: int32 array, pictures of each record.
      lengths: int64 array, bytes of each serialized record.
    """

    def __init__(self, shards: list[pathlib.Path]):
        """Reads the indices of the shards; the shards themselves are opened with the first record.

        Raises:
          UserError: a shard or an index is missing or damaged.
        """
        self._shards = shards
        indices = [read_index(shard) for shard in shards]
        self.ids = np.concatenate([index.ids for index in indices])
        self.num_images = np.concatenate([index.num_images for index in indices])
        self._offsets = np.concatenate([index.offsets for index in indices])
        self.lengths = np.concatenate([index.lengths for index in indices])
        counts = [len(index.ids) for index in indices]
        self._shard_of = np.repeat(np.arange(len(shards)), counts)
        self._first = np.concatenate([[0], np.cumsum(counts)])
        self._files: dict[int, Any] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Returns the number of records."""
        return len(self.ids)

    def __getstate__(self) -> dict[str, Any]:
        """Leaves the open files behind, so that a table may be handed to another process."""
        return {key: value for key, value in self.__dict__.items() if key not in ("_files", "_lock")}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Takes what `__getstate__` gave."""
        self.__dict__.update(state, _files={}, _lock=threading.Lock())

    def read_bytes(self, number: int) -> bytes:
        """Returns the serialized record `number` (from 0) after its checksums held.

        Raises:
          BrokenRecordError: they did not.
          UserError: the shard is gone or cannot be read at all.
        """
        shard = int(self._shard_of[number])
        offset, length = int(self._offsets[number]), int(self.lengths[number])
        try:
            with self._lock:
                if shard not in self._files:
                    self._files[shard] = open(self._shards[shard], "rb")
            frame = os.pread(self._files[shard].fileno(), framing.HEADER_BYTES + length + framing.FOOTER_BYTES, offset)
        except OSError as error:  # it was deleted, or the disk or network behind it fails: no fault of the record
            raise errors.UserError(
                f"{self._shards[shard]}: cannot be read ({error.strerror}); look at the disk, or build the data folder "
                "again"
            ) from error
        if reason := framing.frame_problem(frame, length):
            raise self._broken(number, reason)
        return frame[framing.HEADER_BYTES : framing.HEADER_BYTES + length]

    def read(self, number: int) -> schema.Instance:
        """Returns record `number` (from 0).

        Raises:
          BrokenRecordError: its checksums do not hold, or it has another schema.
        """
        try:
            return decode(self.read_bytes(number))
        except ValueError as error:
            raise self._broken(number, str(error)) from error

    def _broken(self, number: int, reason: str) -> framing.BrokenRecordError:
        shard = int(self._shard_of[number])
        record, offset = int(number - self._first[shard]), int(self._offsets[number])
        return framing.BrokenRecordError(self._shards[shard], record=record, offset=offset, reason=reason)
