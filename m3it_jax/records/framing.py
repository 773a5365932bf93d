"""TFRecord framing: the checksums around each record of a shard, and how to walk over them.

    | length, 8 bytes | masked CRC of length, 4 | data, `length` bytes | masked CRC of data, 4 |

Source: tensorflow/core/lib/io/record_writer.h. No TensorFlow, so that a damaged file can be told apart byte by byte.
"""

import functools
import mmap
import pathlib
import struct
from collections.abc import Iterator, Sequence
from typing import Any

import google_crc32c
import numpy as np

from m3it_jax import errors

HEADER_BYTES = 12
FOOTER_BYTES = 4
_MASK_DELTA = 0xA282EAD8  # tensorflow/core/lib/hash/crc32c.h
_SEARCHED = 1 << 20  # bytes looked through at once for the next header
_MAX_RECORD_BYTES = 1 << 30  # a length above this is a broken header, not a record


class BrokenRecordError(errors.UserError):
    """A record that cannot be read: says the file, the record's number in it, the byte offset and the reason."""

    def __init__(self, path: pathlib.Path, *, record: int, offset: int, reason: str):
        """Takes where it is and what is wrong with it."""
        super().__init__(f"{path}: record {record} at byte {offset}: {reason}; run `m3it check` on the data folder")
        self.path, self.record, self.offset, self.reason = path, record, offset, reason

    def __reduce__(self) -> tuple[Any, ...]:
        """Lets the error travel between processes."""
        where: dict[str, Any] = {"record": self.record, "offset": self.offset, "reason": self.reason}
        return functools.partial(type(self), **where), (self.path,)


def masked_crc(*parts: bytes) -> int:
    """Returns the masked CRC32C of the joined parts as TFRecord files store it."""
    crc = 0
    for part in parts:
        crc = google_crc32c.extend(crc, part)
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF


def frame(data: bytes) -> bytes:
    """Returns one framed record."""
    return b"".join(framed([data]))


def framed(parts: Sequence[bytes]) -> list[bytes]:
    """Returns one framed record in parts, of the parts of its data."""
    length = struct.pack("<Q", sum(map(len, parts)))
    return [length, struct.pack("<I", masked_crc(length)), *parts, struct.pack("<I", masked_crc(*parts))]


def frame_problem(frame: bytes, length: int) -> str | None:
    """Returns what is wrong with one framed record (header, `length` bytes of data, footer), or None."""
    if len(frame) < HEADER_BYTES + length + FOOTER_BYTES:
        return f"the file ends inside the record ({len(frame)} of {HEADER_BYTES + length + FOOTER_BYTES} bytes)"
    stored, header_crc = struct.unpack_from("<QI", frame)
    if header_crc != masked_crc(frame[:8]):
        return "the checksum of its length does not match"
    if stored != length:
        return f"its length is {stored} bytes, the index says {length}"
    data = memoryview(frame)[HEADER_BYTES : HEADER_BYTES + length]
    (data_crc,) = struct.unpack_from("<I", frame, HEADER_BYTES + length)
    if data_crc != masked_crc(bytes(data)):
        return "the checksum of its data does not match"
    return None


def scan(path: pathlib.Path) -> Iterator[tuple[int, bytes]]:
    """Yields (byte offset, data) of each record of a shard in order, with every checksum checked.

    Raises:
      BrokenRecordError: at the first record that does not hold; what follows cannot be found without the index.
    """
    with open(path, "rb") as file:
        record, offset = 0, 0
        while header := file.read(HEADER_BYTES):
            length = struct.unpack_from("<Q", header)[0] if len(header) == HEADER_BYTES else 0
            sane = len(header) == HEADER_BYTES and length <= _MAX_RECORD_BYTES
            frame = header + (file.read(length + FOOTER_BYTES) if sane else b"")
            reason = frame_problem(frame, length) if sane else "the file ends, or its length is out of range"
            if reason:
                raise BrokenRecordError(path, record=record, offset=offset, reason=reason)
            yield offset, frame[HEADER_BYTES : HEADER_BYTES + length]
            record, offset = record + 1, offset + len(frame)


def salvage(path: pathlib.Path) -> Iterator[tuple[int, bytes | None]]:
    """Yields (byte offset, data) of each sound record of a shard, and (byte offset, None) where one or more are lost.

    No index is needed: behind a header that does not hold, the next place is sought where a length and its checksum
    stand. A record whose data alone is damaged costs itself and nothing more.
    """
    if not path.stat().st_size:
        return
    with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as view:
        offset = 0
        while offset < len(view):
            length = _length_at(view, offset)
            end = offset + HEADER_BYTES + (length or 0) + FOOTER_BYTES
            if length is None or end > len(view):
                yield offset, None
                following = _next_header(view, offset + 1)
                if following is None:
                    return
                offset = following
                continue
            frame = view[offset:end]
            yield offset, None if frame_problem(frame, length) else frame[HEADER_BYTES : HEADER_BYTES + length]
            offset = end


def _length_at(view: mmap.mmap, offset: int) -> int | None:
    """Returns the length that a header at this place names, or None if none stands there."""
    header = view[offset : offset + HEADER_BYTES]
    if len(header) < HEADER_BYTES:
        return None
    length, crc = struct.unpack("<QI", header)
    return length if length <= _MAX_RECORD_BYTES and crc == masked_crc(header[:8]) else None


def _next_header(view: mmap.mmap, start: int) -> int | None:
    """Returns the first place from `start` on where a header stands."""
    for begin in range(start, len(view), _SEARCHED):
        block = np.frombuffer(view[begin : begin + _SEARCHED + HEADER_BYTES - 1], np.uint8)
        if len(block) < HEADER_BYTES:
            return None
        windows = np.lib.stride_tricks.sliding_window_view(block, HEADER_BYTES)
        # No length has upper bytes and no checksum of one is 0: that leaves few places to look at one by one.
        likely = ~windows[:, 4:8].any(axis=1) & windows[:, 8:12].any(axis=1)
        for place in np.flatnonzero(likely).tolist():
            length = _length_at(view, begin + place)
            if length is not None and begin + place + HEADER_BYTES + length + FOOTER_BYTES <= len(view):
                return begin + place
    return None
