"""Where each record of a shard lies: a file beside the shard, so that any record is read without the others."""

import array
import dataclasses
import os
import pathlib
import zipfile
from collections.abc import Iterator

import numpy as np

from m3it_jax import errors
from m3it_jax.records import framing

INDEX_SUFFIX = ".index.npz"
_PORTION = 1 << 12  # ids that become an array at once
_AROUND = framing.HEADER_BYTES + framing.FOOTER_BYTES


@dataclasses.dataclass(frozen=True)
class ShardIndex:
    """Where each record of a shard lies.

    Attributes:
      ids: text, `Instance.id` in the shard's order.
      offsets: int64, bytes from the file's begin to the record's header.
      lengths: int64, bytes of the data (without the 16 bytes of framing).
      num_images: int32, pictures of the record.
    """

    ids: np.ndarray
    offsets: np.ndarray
    lengths: np.ndarray
    num_images: np.ndarray

    def end(self) -> int:
        """Returns the size in bytes that the shard must have."""
        return int(self.offsets[-1] + self.lengths[-1]) + _AROUND if len(self.ids) else 0


class Rows:
    """The rows of an index while its shard is written or read: 16 bytes and the id's own for each record."""

    def __init__(self) -> None:
        """Begins with the first record."""
        self._ids, self._id_lengths, self._longest = bytearray(), array.array("i"), 1
        self._lengths, self._num_images = array.array("q"), array.array("i")

    def add(self, name: str, length: int, num_images: int) -> None:
        """Adds the record that stands behind the last one; `length` is that of its data, in bytes."""
        encoded = name.encode("utf-8")
        self._ids += encoded
        self._id_lengths.append(len(encoded))
        self._longest = max(self._longest, len(name))
        self._lengths.append(length)
        self._num_images.append(num_images)

    def store(self, shard: pathlib.Path) -> None:
        """Writes the index beside its shard, in one step: the file that `numpy.savez` would write of a `ShardIndex`.

        An array of all ids takes four bytes a character, and `savez` copies it: here a portion at a time is made.
        """
        lengths = np.array(self._lengths, np.int64)
        offsets = np.cumsum(lengths + _AROUND) - (lengths + _AROUND)
        partial = shard.with_name(shard.name + ".index.partial")
        with zipfile.ZipFile(partial, "w", zipfile.ZIP_STORED, allowZip64=True) as archive:
            with archive.open("ids.npy", "w", force_zip64=True) as file:
                kind = np.dtype((np.str_, self._longest))
                about = {"descr": kind.str, "fortran_order": False, "shape": (len(lengths),)}
                np.lib.format.write_array_header_1_0(file, about)
                for ids in self._portions():
                    file.write(np.array(ids, kind).tobytes())
            columns = {"offsets": offsets, "lengths": lengths, "num_images": np.array(self._num_images, np.int32)}
            for name, column in columns.items():
                with archive.open(f"{name}.npy", "w", force_zip64=True) as file:
                    np.lib.format.write_array(file, column, allow_pickle=False)
        os.replace(partial, index_path(shard))

    def _portions(self) -> Iterator[list[str]]:
        begin = 0
        for first in range(0, len(self._id_lengths), _PORTION):
            ids = []
            for length in self._id_lengths[first : first + _PORTION]:
                ids.append(self._ids[begin : begin + length].decode("utf-8"))
                begin += length
            yield ids


def index_path(shard: pathlib.Path) -> pathlib.Path:
    """Returns the path of a shard's index."""
    return shard.with_name(shard.name + INDEX_SUFFIX)


def load_index(shard: pathlib.Path) -> ShardIndex:
    """Returns the index stored beside a shard; the shard itself is not looked at.

    Raises:
      UserError: the index is missing or damaged.
    """
    path, remedy = index_path(shard), "build the data folder again"
    try:
        with np.load(path, allow_pickle=False) as arrays:
            index = ShardIndex(**{field.name: arrays[field.name] for field in dataclasses.fields(ShardIndex)})
    except FileNotFoundError as error:
        raise errors.UserError(f"{path}: the index of a shard is missing; {remedy}") from error
    except Exception as error:  # zipfile, zlib and numpy each have their own kind for a damaged file
        raise errors.UserError(f"{path}: the index is damaged ({error}); {remedy}") from error
    columns = [getattr(index, field.name) for field in dataclasses.fields(index)]
    kinds = "".join(column.dtype.kind for column in columns)
    if len({column.shape for column in columns}) != 1 or columns[0].ndim != 1 or kinds != "Uiii":
        raise errors.UserError(f"{path}: the index is damaged (its columns do not fit each other); {remedy}")
    return index


def read_index(shard: pathlib.Path) -> ShardIndex:
    """Returns the index stored beside a shard, after a check that the shard has the size it speaks of.

    Raises:
      UserError: the index or the shard is missing, damaged or does not belong to the other.
    """
    index = load_index(shard)
    size = shard.stat().st_size if shard.exists() else 0
    if size != index.end():
        raise errors.UserError(
            f"{shard}: has {size} bytes, its index speaks of {index.end()}; build the data folder again"
        )
    return index
