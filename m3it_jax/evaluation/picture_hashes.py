"""Pictures that show the same, found by perceptual hashes: resized, cropped, recompressed or mirrored copies too.

A hash is the signs of a picture's 144 lowest frequencies (pHash: DCT of a small grey picture, each coefficient above
the median or not; Zauner 2010, "Implementation and Benchmarking of Perceptual Image Hash Functions", section 3.2, with
12 x 12 coefficients in place of 8 x 8, since 64 bits do not tell simple drawings apart). Pictures that agree in one of
nine bands of 16 bits are candidates; those whose hashes are near are compared as small colour pictures.

A hash stands crops of a few per cent, so windows of each picture are hashed beside the whole.
"""

import dataclasses
import io
import itertools
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

from m3it_jax import errors, schema

Floats = npt.NDArray[np.float32]
Bytes = npt.NDArray[np.uint8]

_SIDE = 64  # of the small picture that hashes are made of
_FREQUENCIES = 12
_BANDS = 9  # of 16 bits
_SMALL = 32  # of the small colour pictures that candidates are compared by

# CHOICE, by what planted copies need (docs/evaluation.md): most bits of 144 that differ, least correlation.
DISTANCE = 36
CORRELATION = 0.9

_PIECE = 4096  # pairs of windows that are compared at once: 25 MB
_TRIES = 4  # CHOICE: windows of a pair of pictures that are compared, the nearest first

# Pictures with less contrast than this (of 255) have no hash worth a name; they are found by equal bytes alone.
_LEAST_CONTRAST = 3.0

# Side of a window as a share of the picture's side -> where its corners are, as a share of the room that is left.
_PLACES = {side: (0.0, 0.5, 1.0) for side in (0.95, 0.9, 0.85)}

WINDOWS: tuple[tuple[float, float, float], ...] = (
    (0.0, 0.0, 1.0),
    *(
        (top * (1 - side), left * (1 - side), side)
        for side, places in _PLACES.items()
        for top, left in itertools.product(places, places)
    ),
)  # (top, left, side) as shares; the first is the whole picture


@dataclasses.dataclass(frozen=True)
class Small:
    """A picture in small: `grey` float32 [64, 64] and `colour` uint8 [32, 32, 3], both 0..255."""

    grey: Floats
    colour: Bytes

    @property
    def has_contrast(self) -> bool:
        """Whether there is enough to see for a hash."""
        return float(self.grey.std()) >= _LEAST_CONTRAST


def small(image: bytes) -> Small:
    """Returns an encoded picture in small.

    Raises:
      UserError: it cannot be decoded, or has more pixels than a record may have.
    """
    try:
        with Image.open(io.BytesIO(image), formats=schema.PICTURE_FORMATS) as opened:
            if opened.size[0] * opened.size[1] > schema.MAX_PIXELS:
                raise errors.UserError(f"picture of {opened.size[0]} x {opened.size[1]} pixels is above the limit")
            opened.draft("RGB", (2 * _SIDE, 2 * _SIDE))  # JPEG: decoded at a fraction of its size
            whole = opened.convert("RGB")
        grey = whole.convert("L").resize((_SIDE, _SIDE), Image.Resampling.BOX)
        colour = whole.resize((_SMALL, _SMALL), Image.Resampling.BOX)
    except (OSError, ValueError, Image.DecompressionBombError) as error:
        raise errors.UserError(f"picture cannot be read ({error})") from error
    return Small(np.asarray(grey, np.float32), np.asarray(colour, np.uint8))


def mirrored(picture: Small) -> Small:
    """Returns the picture with left and right exchanged."""
    return Small(picture.grey[:, ::-1], picture.colour[:, ::-1])


def _resampling(start: float, side: float, *, size: int, count: int) -> Floats:
    """Returns [count, size]: weights of `size` pixels in each of `count` even parts of a window along one axis."""
    edges = (start + side * np.arange(count + 1) / count) * size
    pixels = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    weights = np.clip(overlap, 0, None)
    return (weights / weights.sum(-1, keepdims=True)).astype(np.float32)


def _cosines(count: int) -> Floats:
    """Returns [count, 32], the lowest frequencies of the DCT-II of 32 values."""
    places = (2 * np.arange(32) + 1) * np.pi / 64
    return np.cos(np.arange(count)[:, None] * places).astype(np.float32)


_TO_FREQUENCIES = [
    tuple(_cosines(_FREQUENCIES) @ _resampling(begin, side, size=_SIDE, count=32) for begin in (top, left))
    for top, left, side in WINDOWS
]
_TO_COLOURS = [
    tuple(_resampling(begin, side, size=_SMALL, count=_SMALL // 2) for begin in (top, left))
    for top, left, side in WINDOWS
]

# Bits of a band come from all frequencies: neighbouring ones go together.
_ORDER = np.random.default_rng(0).permutation(_FREQUENCIES * _FREQUENCIES)


def hashes(pictures: Sequence[Small], windows: Sequence[int]) -> npt.NDArray[np.uint16]:
    """Returns uint16 [picture, window, 9], the bands of each hash; `windows` are places of `WINDOWS`."""
    grey = np.stack([picture.grey for picture in pictures])
    found = np.empty((len(pictures), len(windows), _FREQUENCIES * _FREQUENCIES), bool)
    for place, window in enumerate(windows):
        rows, columns = _TO_FREQUENCIES[window]
        frequencies = (rows @ grey @ columns.T).reshape(len(pictures), -1)
        frequencies[:, 0] = 0.0  # the mean says how light a picture is, not what it shows
        found[:, place] = frequencies > np.median(frequencies, axis=-1, keepdims=True)
    packed = np.packbits(found[..., _ORDER], axis=-1)
    return np.ascontiguousarray(packed).view(np.uint16)


def _vectors(pictures: Sequence[Small], window: int) -> Floats:
    """Returns [picture, 768], a window of each in 16 x 16 colours, so that a product of two is their correlation."""
    rows, columns = _TO_COLOURS[window]
    colours = np.stack([picture.colour for picture in pictures]).astype(np.float32)
    shrunk = np.moveaxis(rows @ np.moveaxis(colours, -1, 1) @ columns.T, 1, -1).reshape(len(pictures), -1)
    centred = shrunk - shrunk.mean(-1, keepdims=True)
    return centred / np.maximum(np.linalg.norm(centred, axis=-1, keepdims=True), 1e-6)


@dataclasses.dataclass(frozen=True)
class Match:
    """A picture that was asked for and the known one that shows the same, by their places in the lists given."""

    asked: int
    known: int
    distance: int
    correlation: float


class Index:
    """Known pictures, each whole and in its windows, as it is and mirrored: about 45 KB a picture.

    A picture asked for is found if it, whole, is near a window of a known one, or if a window of it is near a whole
    known one.
    """

    def __init__(self, pictures: Sequence[Small]):
        """Takes the known pictures."""
        self._pictures = [side for picture in pictures for side in (picture, mirrored(picture))]
        every = list(range(len(WINDOWS)))
        bands = hashes(self._pictures, every) if pictures else np.zeros((0, len(every), _BANDS), np.uint16)
        self._with_windows = _Bands(bands.reshape(-1, _BANDS))
        self._wholes = _Bands(bands[:, 0])

    def matches(self, asked: Sequence[Small]) -> Iterator[Match]:
        """Yields the matches of some pictures, one for each pair of an asked and a known picture."""
        if not asked or not self._pictures:
            return
        bands = hashes(asked, range(len(WINDOWS)))
        near = [self._with_windows.near(bands[:, 0])]
        near[0] = np.insert(near[0], 1, 0, axis=1)  # [pair, 4]: asked, its window, place, distance
        for window in range(1, len(WINDOWS)):
            found = self._wholes.near(bands[:, window])
            found[:, 1] *= len(WINDOWS)
            near.append(np.insert(found, 1, window, axis=1))
        pairs = _nearest(np.concatenate(near), step=len(WINDOWS))
        alike = self._correlations(asked, pairs)
        best: dict[tuple[int, int], Match] = {}
        for (number, _, place, distance), value in zip(pairs.tolist(), alike.tolist(), strict=True):
            known = place // len(WINDOWS) // 2
            if value >= CORRELATION:
                best.setdefault((number, known), Match(number, known, distance, value))
        yield from best.values()

    def _correlations(self, asked: Sequence[Small], pairs: npt.NDArray[np.int64]) -> Floats:
        """Returns how alike the two windows of each pair are in colour, -1..1."""
        sides, known_windows = np.divmod(pairs[:, 2], len(WINDOWS))
        found = np.empty(len(pairs), np.float32)
        for window in np.unique(pairs[:, 1]).tolist():
            ours = _vectors(asked, window)
            for known_window in np.unique(known_windows[pairs[:, 1] == window]).tolist():
                (places,) = np.nonzero((pairs[:, 1] == window) & (known_windows == known_window))
                numbers, rows = np.unique(sides[places], return_inverse=True)
                theirs = _vectors([self._pictures[number] for number in numbers.tolist()], known_window)
                for begin in range(0, len(places), _PIECE):
                    part = slice(begin, begin + _PIECE)
                    found[places[part]] = (ours[pairs[places[part], 0]] * theirs[rows[part]]).sum(-1)
        return found


def _nearest(pairs: npt.NDArray[np.int64], *, step: int) -> npt.NDArray[np.int64]:
    """Returns of each pair of pictures the `_TRIES` pairs of windows with the least distance, these first.

    Args:
      pairs: [pair, 4], an asked picture, its window, the place of a known window, the distance.
      step: Windows of a known picture.
    """
    known = pairs[:, 2] // step // 2
    order = np.lexsort((pairs[:, 3], known, pairs[:, 0]))
    pairs, known = pairs[order], known[order]
    is_new = np.ones(len(pairs), bool)
    is_new[1:] = (np.diff(pairs[:, 0]) != 0) | (np.diff(known) != 0)
    begins = np.flatnonzero(is_new)
    ranks = np.arange(len(pairs)) - np.repeat(begins, np.diff([*begins.tolist(), len(pairs)]))
    return pairs[ranks < _TRIES]


class _Bands:
    """Hashes, sorted by each of their bands."""

    def __init__(self, bands: npt.NDArray[np.uint16]):
        self._bands = np.ascontiguousarray(bands)  # [hash, 9]
        self._orders = [np.argsort(column, kind="stable") for column in self._bands.T]
        self._sorted = [column[order] for column, order in zip(self._bands.T, self._orders, strict=True)]

    def near(self, asked: npt.NDArray[np.uint16]) -> npt.NDArray[np.int64]:
        """Returns [pair, 3]: number of the hash asked for, number of a near one, bits that differ; each pair once."""
        asked = np.ascontiguousarray(asked)
        pairs = []
        for band in range(_BANDS):
            begins = np.searchsorted(self._sorted[band], asked[:, band], "left")
            counts = np.searchsorted(self._sorted[band], asked[:, band], "right") - begins
            numbers = np.repeat(np.arange(len(asked)), counts)
            offsets = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
            places = self._orders[band][np.repeat(begins, counts) + offsets]
            distances = np.bitwise_count(asked[numbers] ^ self._bands[places]).sum(-1, dtype=np.int64)
            near = distances <= DISTANCE
            pairs.append(np.stack((numbers[near], places[near], distances[near]), axis=-1))
        return np.unique(np.concatenate(pairs), axis=0)
