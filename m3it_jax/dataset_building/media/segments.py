"""Parts of PNG and JPEG files that are taken out without touching a pixel."""

import struct
from collections.abc import Iterator

_PNG = b"\x89PNG\r\n\x1a\n"
_TEXTS = (b"tEXt", b"zTXt", b"iTXt")
_EXIF_AS_TEXT = b"Raw profile type exif\0"  # ImageMagick's, from before PNG had a chunk for it
_APP2, _SOS = 0xE2, 0xDA


def without_exif(data: bytes) -> bytes:
    """Returns a PNG without what a camera said about it; the same bytes if there is nothing, or if it is no whole PNG.

    Chunks as in the PNG specification (ISO/IEC 15948), section 5.3, and its extension eXIf.
    """
    if not data.startswith(_PNG):
        return data
    parts, place = [_PNG], len(_PNG)
    while place < len(data):
        head = data[place : place + 8]
        if len(head) < 8:
            return data
        length, name = struct.unpack(">I4s", head)
        end = place + 12 + length
        if end > len(data):
            return data
        is_exif = name == b"eXIf" or (name in _TEXTS and data.startswith(_EXIF_AS_TEXT, place + 8))
        if not is_exif:
            parts.append(data[place:end])
        place = end
    return b"".join(parts)


def first_of_several(data: bytes, size: int) -> bytes:
    """Returns the first JPEG of a Multi-Picture file, `size` bytes long, as a JPEG that names no others.

    The list of pictures stands in an APP2 segment (CIPA DC-007, section 5.2); without it every reader sees one picture.
    """
    kept = list(_segments(data[:size]))
    return b"\xff\xd8" + b"".join(part for part in kept if not (part[1] == _APP2 and part[4:8] == b"MPF\0"))


def _segments(data: bytes) -> Iterator[bytes]:
    """Yields the segments of a JPEG behind its first two bytes; the last is all from the first scan on."""
    place = 2
    while data[place : place + 1] == b"\xff" and len(data) >= place + 4:
        marker, length = struct.unpack_from(">xBH", data, place)
        if marker == _SOS:
            break
        yield data[place : place + 2 + length]
        place += 2 + length
    yield data[place:]
