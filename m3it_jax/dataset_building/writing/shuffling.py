"""The records of a split, in whatever order they come, into shards in TFDS' order.

TFDS sorts by a hash of the key. It holds records in memory up to a gigabyte and then spreads them over a thousand
files; here each goes to one file as it comes, framed as its shard will hold it, and is copied once all are there. What
is sorted lies on disk too, so a split of millions takes no more memory than one of thousands.
"""

import errno
import hashlib
import itertools
import os
import pathlib
import struct
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from m3it_jax import schema
from m3it_jax.records import examples, framing, shard_index

_BUFFER = 1 << 17  # bytes that small records gather to before they are written; a larger one is not copied
# Where a record lies and what its place among the others is; `upper` and `lower` are the halves of its hash.
_ROW = np.dtype(
    [("upper", "u8"), ("lower", "u8"), ("start", "u8"), ("length", "u4"), ("id_length", "u4"), ("num_images", "u4")]
)
_AS_BYTES = struct.Struct("=QQQIII")
# CHOICE: rows of 36 bytes that are sorted at once; the list is read again for each further portion of hashes, so there
# are not more than 64 of them.
_SORTED_AT_ONCE, _MOST_PORTIONS = 1 << 14, 64


class Spool:
    """The records of one split on their way into shards.

    Attributes:
      num_bytes: Serialized records, together, without framing.
    """

    def __init__(self, path: pathlib.Path, hash_key: Callable[[str], int]):
        """Takes the begin of the names of two files, and what makes 128 bits of an id: they decide the order."""
        self._paths = path.with_name(path.name + ".records"), path.with_name(path.name + ".rows")
        self._records: Any = open(self._paths[0], "w+b", buffering=_BUFFER)
        self._rows: Any = open(self._paths[1], "w+b", buffering=_BUFFER)
        self._hash_key = hash_key
        self._number = self._end = self.num_bytes = 0

    def __len__(self) -> int:
        """Returns the number of records."""
        return self._number

    def __enter__(self) -> "Spool":
        """Returns the spool; leaving it closes and deletes its files."""
        return self

    def __exit__(self, *exception: object) -> None:
        """Closes and deletes the files."""
        for path, file in zip(self._paths, (self._records, self._rows), strict=True):
            file.close()
            path.unlink()

    def add(self, instance: schema.Instance) -> None:
        """Takes one record."""
        name, parts = instance.id.encode("utf-8"), examples.encoded_parts(instance)
        length = sum(map(len, parts))
        key = self._hash_key(instance.id)
        halves = key >> 64, key & 0xFFFFFFFFFFFFFFFF
        self._rows.write(_AS_BYTES.pack(*halves, self._end, length, len(name), len(instance.images)))
        self._records.writelines([name, *framing.framed(parts)])
        self._number += 1
        self.num_bytes += length
        self._end += len(name) + framing.HEADER_BYTES + length + framing.FOOTER_BYTES

    def write(self, shards: Sequence[pathlib.Path], ends: Sequence[int]) -> dict[str, str]:
        """Writes the shards and their indices; `ends` are the numbers of records up to the end of each.

        Returns the SHA-256 of each shard, by its name.
        """
        self._records.flush()
        self._rows.flush()
        rows = self._in_order()
        numbers = [end - begin for begin, end in zip([0, *ends], ends, strict=False)]
        return {
            shard.name: self._write_shard(shard, itertools.islice(rows, number))
            for shard, number in zip(shards, numbers, strict=True)
        }

    def _in_order(self) -> Iterator[tuple[int, int, int, int]]:
        """Yields (start, length of the data, length of the id, number of pictures) of each record in order."""
        portions = min(1 + self._number // _SORTED_AT_ONCE, _MOST_PORTIONS)
        for portion in range(portions):
            self._rows.seek(0)
            found = []
            while len(rows := np.fromfile(self._rows, _ROW, _SORTED_AT_ONCE)):
                found.append(rows[(rows["upper"] >> 32) * portions >> 32 == portion])
            rows = np.concatenate(found)
            ordered = rows[np.lexsort((rows["lower"], rows["upper"]))]
            yield from ordered[["start", "length", "id_length", "num_images"]].tolist()

    def _write_shard(self, shard: pathlib.Path, rows: Iterator[tuple[int, int, int, int]]) -> str:
        digest, listed = hashlib.sha256(), shard_index.Rows()
        with open(shard, "wb", buffering=_BUFFER) as file:
            for start, length, id_length, num_images in rows:
                whole = id_length + framing.HEADER_BYTES + length + framing.FOOTER_BYTES
                stored = memoryview(os.pread(self._records.fileno(), whole, start))
                if len(stored) != whole:
                    raise OSError(errno.EIO, os.strerror(errno.EIO), str(self._paths[0]))
                listed.add(str(stored[:id_length], "utf-8"), length, num_images)
                digest.update(stored[id_length:])
                file.write(stored[id_length:])
        listed.store(shard)
        return digest.hexdigest()
