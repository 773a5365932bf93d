"""Whether a JPEG is ordinary: baseline, one scan, every table sound, nothing missing. No pixel is decoded.

In an ordinary JPEG the decoder (libjpeg) can still meet damaged coefficients, which it shows as grey blocks and does
not refuse; all that it does refuse stands in what is walked over here. That is a twentieth of the work of decoding, and
decoding is most of an import. Whatever is not ordinary is left to the decoder.

Tables and their limits as in ITU-T T.81, annexes B and C; what is refused, as in libjpeg's jdmarker.c, jdhuff.c and
jdinput.c.
"""

import struct

import numpy as np

_BASELINE = (0xC0, 0xC1)
_SKIPPED = (*range(0xE0, 0xF0), 0xFE)  # APPn, COM
_DQT, _DHT, _DRI, _SOS, _EOI = 0xDB, 0xC4, 0xDD, 0xDA, 0xD9
_LARGEST = 65500  # pixels of a side; jmorecfg.h, JPEG_MAX_DIMENSION
_SAMPLINGS = ((1, 1), (2, 1), (1, 2), (2, 2))  # of the first component; colour has as many samples or fewer


def is_ordinary(data: bytes) -> bool:
    """Returns whether these bytes are one whole baseline JPEG that a decoder will take."""
    try:
        return data.startswith(b"\xff\xd8") and _walk(data)
    except (IndexError, struct.error):  # a segment says that it is longer than it is
        return False


def _walk(data: bytes) -> bool:
    place = 2
    components: dict[int, int] = {}  # id -> number of its quantisation table
    quantisation: set[int] = set()
    huffman: set[tuple[int, int]] = set()
    while data[place] == 0xFF:
        marker, length = struct.unpack_from(">xBH", data, place)
        body = data[place + 4 : place + 2 + length]
        if length < 2 or len(body) != length - 2:
            return False
        place += 2 + length
        if marker in _BASELINE:
            found = None if components else _frame(body)
            if not found:
                return False
            components = found
        elif marker == _DQT:
            if not _quantisation(body, quantisation):
                return False
        elif marker == _DHT:
            if not _huffman(body, huffman):
                return False
        elif marker == _SOS:
            ready = bool(components) and set(components.values()) <= quantisation
            return ready and _scan(body, components, huffman) and _ends(data, place)
        elif marker not in _SKIPPED and not (marker == _DRI and length == 4):
            return False
    return False


def _frame(body: bytes) -> dict[int, int]:
    """Returns the components of a frame by id, with their quantisation tables; nothing if it is not ordinary."""
    precision, height, width, number = struct.unpack_from(">BHHB", body)
    parts = [body[6 + 3 * each : 9 + 3 * each] for each in range(number)]
    if (
        precision != 8
        or not 0 < height <= _LARGEST
        or not 0 < width <= _LARGEST
        or number not in (1, 3)
        or len(body) != 6 + 3 * number
    ):
        return {}
    samplings = [(part[1] >> 4, part[1] & 15) for part in parts]
    if samplings[0] not in _SAMPLINGS or any(each != (1, 1) for each in samplings[1:]):
        return {}
    found = {part[0]: part[2] for part in parts}
    return found if len(found) == number else {}


def _quantisation(body: bytes, seen: set[int]) -> bool:
    place = 0
    while place < len(body):
        precision, number = body[place] >> 4, body[place] & 15
        place += 1 + 64 * (precision + 1)
        if precision > 1 or number > 3 or place > len(body):
            return False
        seen.add(number)
    return True


def _huffman(body: bytes, seen: set[tuple[int, int]]) -> bool:
    place = 0
    while place < len(body):
        kind, number = body[place] >> 4, body[place] & 15
        counts = body[place + 1 : place + 17]
        symbols = body[place + 17 : place + 17 + sum(counts)]
        place += 17 + sum(counts)
        if kind > 1 or number > 3 or len(counts) != 16 or sum(counts) > 256 or place > len(body):
            return False
        code = 0
        for length, count in enumerate(counts, start=1):
            code += count
            if code >= 1 << length:  # more codes than bits can tell apart, or the one of ones alone, which has no use
                return False
            code <<= 1
        if kind == 0 and any(symbol > 15 for symbol in symbols):
            return False
        seen.add((kind, number))
    return True


def _scan(body: bytes, components: dict[int, int], huffman: set[tuple[int, int]]) -> bool:
    """Returns whether a scan's header is that of the only scan, and all that it names is there."""
    number = body[0]
    parts = [body[1 + 2 * each : 3 + 2 * each] for each in range(number)]
    if len(body) != 4 + 2 * number or {part[0] for part in parts} != set(components) or number != len(components):
        return False
    tables = {table for part in parts for table in ((0, part[1] >> 4), (1, part[1] & 15))}
    return tables <= huffman and body[-3:] == b"\x00\x3f\x00"


def _ends(data: bytes, place: int) -> bool:
    """Returns whether nothing but the end of the picture ends the scan that begins at `place`.

    Inside of a scan FF is followed by 00 or by the mark of a restart, D0 to D7; anything else ends it.
    """
    scan = np.frombuffer(data, np.uint8, offset=place)
    behind = scan[1:][scan[:-1] == 0xFF]
    marks = behind[(behind != 0) & ((behind < 0xD0) | (behind > 0xD7))]
    return len(scan) > 2 and marks.tolist() == [_EOI] and data.endswith(b"\xff\xd9")
