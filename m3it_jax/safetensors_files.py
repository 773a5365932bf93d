"""Safetensors files: headers that are checked before a byte is believed, tensors mapped from disk, files made to size.

The format (github.com/huggingface/safetensors, README): 8 bytes give the length of a JSON header, little-endian; the
header names each tensor's dtype, shape and place; the bytes of the tensors follow without holes.
"""

import dataclasses
import errno
import json
import math
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from m3it_jax import errors

MAX_HEADER_BYTES = 100_000_000  # the reference's own limit (safetensors/src/tensor.rs, MAX_HEADER_SIZE)
_MAX_AXES = 16  # CHOICE: no weight has more than 5
_ALIGN = 64  # bytes: where data begin, so that a mapped array suits vector instructions and may be used in place

DTYPES: dict[str, np.dtype] = {
    "F64": np.dtype(np.float64),
    "F32": np.dtype(np.float32),
    "F16": np.dtype(np.float16),
    "BF16": np.dtype(jnp.bfloat16),
    "I64": np.dtype(np.int64),
    "I32": np.dtype(np.int32),
    "I16": np.dtype(np.int16),
    "I8": np.dtype(np.int8),
    "U64": np.dtype(np.uint64),
    "U32": np.dtype(np.uint32),
    "U16": np.dtype(np.uint16),
    "U8": np.dtype(np.uint8),
    "BOOL": np.dtype(np.bool_),
}
# Types of the format of 8 bits and fewer that are no whole numbers (safetensors/src/tensor.rs, `Dtype`).
_SMALL = re.compile(r"F[468]_.*|F4|C64")
NAMES = {dtype: name for name, dtype in DTYPES.items()}


@dataclasses.dataclass(frozen=True)
class Tensor:
    """Where one tensor lies: `offset` counts bytes from the beginning of the file."""

    path: Path
    key: str
    dtype: np.dtype
    shape: tuple[int, ...]
    offset: int

    @property
    def num_bytes(self) -> int:
        """Size of the data."""
        return math.prod(self.shape) * self.dtype.itemsize

    def mapped(self) -> np.ndarray:
        """Returns the tensor as a read-only array that is read from disk where it is touched."""
        if not self.num_bytes:
            return np.zeros(self.shape, self.dtype)
        return np.memmap(self.path, self.dtype, "r", self.offset, self.shape).view(np.ndarray)


def read_header(path: Path) -> dict[str, Tensor]:
    """Returns the tensors of a file, {key: where it lies}, in the order of their bytes; no data are read.

    Raises:
      UserError: the file is missing, cut off, or its header says what cannot be.
    """
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > size - 8:
                raise _refused(
                    path, f"has {size} bytes, its header alone needs {length}; it is cut off or no such file"
                )
            if length > MAX_HEADER_BYTES:
                raise _refused(path, f"its header has {length} bytes, at most {MAX_HEADER_BYTES} are allowed")
            header = _parsed(file.read(length), path)
    except OSError as error:
        raise errors.UserError(f"{path}: cannot be read ({error.strerror})") from error
    header.pop("__metadata__", None)
    tensors = [_tensor(path, key, value, data=8 + length) for key, value in header.items()]
    tensors.sort(key=lambda tensor: (tensor.offset, tensor.num_bytes))
    end = 8 + length
    for tensor in tensors:
        if tensor.offset != end:
            what = "overlaps the tensor before it" if tensor.offset < end else "leaves a hole before it"
            raise _refused(path, f"{short(tensor.key)} begins at byte {tensor.offset} and {what}, which ends at {end}")
        end += tensor.num_bytes
    if end != size:
        kind = "is cut off" if size < end else "has bytes that belong to no tensor"
        raise _refused(path, f"{kind}: {size} bytes, its header describes {end}")
    return {tensor.key: tensor for tensor in tensors}


def _parsed(text: bytes, path: Path) -> dict[str, Any]:
    if not text.startswith(b"{"):
        raise _refused(path, "its header is no JSON object")

    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) != len(pairs):
            names = [name for name, _ in pairs]
            twice = next(name for name in names if names.count(name) > 1)
            raise _refused(path, f"its header names {short(twice)} twice")
        return found

    try:
        header = json.loads(text, object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise _refused(path, f"its header is no JSON ({type(error).__name__})") from error
    if not isinstance(header, dict):
        raise _refused(path, "its header is no JSON object")
    return header


def _tensor(path: Path, key: str, value: Any, *, data: int) -> Tensor:
    """Returns the place that a row of the header describes; `data` is where the bytes of all tensors begin."""
    where = f"{short(key)} in its header"
    if not isinstance(value, dict) or value.keys() != {"dtype", "shape", "data_offsets"}:
        raise _refused(path, f"{where} must have dtype, shape and data_offsets")
    dtype, shape, offsets = value["dtype"], value["shape"], value["data_offsets"]
    if isinstance(dtype, str) and _SMALL.fullmatch(dtype):
        raise errors.UserError(
            f"{path}: {short(key)} has dtype {dtype}, which is not read: its scales are not stored as weights are; "
            "take the checkpoint in F32, F16 or BF16"
        )
    if not isinstance(dtype, str) or dtype not in DTYPES:
        raise _refused(path, f"{where} has dtype {short(str(dtype))}; known are {', '.join(DTYPES)}")
    if not _sizes(shape) or len(shape) > _MAX_AXES:
        raise _refused(path, f"{where} has shape {short(str(shape))}, which is no list of sizes")
    if not _sizes(offsets) or len(offsets) != 2:
        raise _refused(path, f"{where} has data_offsets {short(str(offsets))}, which are no two places")
    tensor = Tensor(path, key, DTYPES[dtype], tuple(shape), data + offsets[0])
    if offsets[1] - offsets[0] != tensor.num_bytes:
        raise _refused(
            path,
            f"{where} has {offsets[1] - offsets[0]} bytes, but {dtype} of shape {short(str(tensor.shape))} needs "
            f"{short(str(tensor.num_bytes))}",
        )
    return tensor


def _sizes(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) is int and 0 <= value < 1 << 63 for value in values)


def create(
    path: Path, tensors: Iterable[tuple[str, np.dtype, Sequence[int]]], *, metadata: Mapping[str, str] | None = None
) -> dict[str, Tensor]:
    """Makes a file of its final size, with its header, and returns the places that its tensors will be written to.

    Args:
      path: A file that does not exist yet.
      tensors: (key, dtype, shape) in the order of their bytes.
      metadata: Texts for whoever reads the file.

    Raises:
      OSError: it exists or cannot be written.
    """
    header: dict[str, Any] = {"__metadata__": dict(metadata)} if metadata else {}
    places, end = [], 0
    for key, dtype, shape in tensors:
        place = Tensor(path, key, np.dtype(dtype), tuple(shape), end)
        header[key] = {
            "dtype": NAMES[place.dtype],
            "shape": list(place.shape),
            "data_offsets": [end, end + place.num_bytes],
        }
        places.append(place)
        end += place.num_bytes
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode("utf-8")
    text += b" " * (-(8 + len(text)) % _ALIGN)
    begin = 8 + len(text)
    with open(path, "xb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.flush()
        _reserve(file.fileno(), begin + end)
    return {place.key: dataclasses.replace(place, offset=begin + place.offset) for place in places}


def _reserve(descriptor: int, size: int) -> None:
    """Gives a file its size and its room on the disk, so that a full disk shows now; writing is cheaper afterwards."""
    os.ftruncate(descriptor, size)
    if hasattr(os, "posix_fallocate"):  # not on macOS
        try:
            os.posix_fallocate(descriptor, 0, size)
        except OSError as error:
            if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # file systems that cannot
                raise


def write(path: Path, arrays: Mapping[str, np.ndarray], *, metadata: Mapping[str, str] | None = None) -> None:
    """Writes arrays as one new file: for small ones.

    Raises:
      OSError: it exists or cannot be written.
    """
    places = create(path, [(key, array.dtype, array.shape) for key, array in arrays.items()], metadata=metadata)
    with open(path, "r+b") as file:
        for key, array in arrays.items():
            file.seek(places[key].offset)
            file.write(np.ascontiguousarray(array).tobytes())


def _refused(path: Path, what: str) -> errors.UserError:
    return errors.UserError(f"{path}: {what}; fetch the file again")


def short(name: str) -> str:
    """Returns a name from a file, safe to print: one line, at most 120 characters."""
    plain = name if name.isprintable() else ascii(name)
    return plain if len(plain) <= 120 else f"{plain[:117]}..."
