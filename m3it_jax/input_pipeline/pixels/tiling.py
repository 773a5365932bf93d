"""A large picture as tiles of the tower's size and an overview: which grid, which pixels, in which order.

The layout is that of InternVL (arXiv 2312.14238 and 2404.16821; OpenGVLab/InternVL `dynamic_preprocess`), as
transformers' `GotOcr2ImageProcessor` with `crop_to_patches` makes it for its InternVL models. A picture of 300 x 100
pixels, a tower of 64 and at most 4 tiles:

    +-----+-----+-----+    resized to 192 x 64, a grid of the nearest shape, and cut, row by row;
    |  0  |  1  |  2  |    then the whole picture, resized to 64 x 64:  3
    +-----+-----+-----+

Each of the four is a picture to the tower and takes one slot. In the text they stand one behind the other between the
marks of one picture, with nothing between them: no new token, no new parameter.

A picture is cut if it is the only one that its turn shows. Several pictures of one turn, and so the frames of a video,
are read whole: their number is the detail. So is a picture that is no larger than the tower: cutting would show nothing
more (InternVL cuts it if it is not square).
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from PIL import Image

from m3it_jax import errors, schema
from m3it_jax.input_pipeline.pixels import decoders, preprocessing
from m3it_jax.input_pipeline.pixels.decoders import Decoders


@dataclasses.dataclass(frozen=True)
class Tiling:
    """How pictures are cut.

    Attributes:
      most: Most tiles of a picture, the overview not counted; 1: none is cut.
      side: Of the tower's pictures, pixels.
    """

    most: int = 1
    side: int = 0


class Grid(NamedTuple):
    """How a picture is cut.

    Attributes:
      columns: Tiles beside each other.
      rows: Tiles below each other.
    """

    columns: int
    rows: int

    @property
    def slots(self) -> int:
        """Slots that the picture takes: its tiles and the overview, or 1."""
        count = self.columns * self.rows
        return count + 1 if count > 1 else 1


WHOLE = Grid(1, 1)

# An encoded picture and how it is cut.
Shot = tuple[bytes, Grid]


@functools.cache
def _grids(most: int) -> list[Grid]:
    """Returns the grids of at most so many tiles, the smallest first; of one size the narrowest first."""
    every = [Grid(columns, rows) for columns in range(1, most + 1) for rows in range(1, most // columns + 1)]
    return sorted(every, key=lambda grid: grid.columns * grid.rows)


@functools.lru_cache(maxsize=4096)
def grid(size: tuple[int, int], tiling: Tiling) -> Grid:
    """Returns the grid for an upright picture of (height, width) pixels that its turn shows alone.

    It is the one whose shape is nearest to the picture's, by the difference of width / height. Of several (1 x 1 and 2
    x 2 have one shape) a larger one is taken if the picture has more than half of its pixels. As in
    `get_optimal_tiled_canvas` of transformers, down to the order of float operations, but for small pictures.
    """
    height, width = size
    if tiling.most == 1 or max(size) <= tiling.side:
        return WHOLE
    ratio, area, tile = width / height, width * height, tiling.side**2
    best, least = WHOLE, float("inf")
    for candidate in _grids(tiling.most):
        difference = abs(ratio - candidate.columns / candidate.rows)
        is_covered = area > 0.5 * tile * candidate.columns * candidate.rows
        if difference < least or (difference == least and is_covered):
            best, least = candidate, difference
    return best


def grids(instance: schema.Instance, tiling: Tiling) -> list[Grid]:
    """Returns how each picture of a record is cut.

    A picture that cannot be read is whole, and so are those of turns that are of no form: they are refused, with the
    record's name, where they are decoded or laid out.
    """
    whole = [WHOLE] * len(instance.images)
    if tiling.most == 1:
        return whole
    try:
        turns = schema.turns_of(instance)
    except errors.UserError:
        return whole
    return alone(turns, lambda number: _of_picture(instance.images[number], tiling))


@functools.lru_cache(maxsize=32)  # the rows of one record, each with another instruction, ask in turn
def _of_picture(data: bytes, tiling: Tiling) -> Grid:
    try:
        return grid(preprocessing.upright_size(data), tiling)
    except preprocessing.PictureError:
        return WHOLE


def alone(turns: Sequence[schema.Turn], of: Callable[[int], Grid]) -> list[Grid]:
    """Returns the grids of all pictures of turns: `of` gives that of a picture, by its number, shown alone."""
    found: list[Grid] = []
    for turn in turns:
        found += [of(len(found))] if turn.new_pictures == 1 else [WHOLE] * turn.new_pictures
    return found


def decode(shot: Shot, out: np.ndarray, *, fit: str, by: Decoders = decoders.PILLOW) -> None:
    """Writes the tiles of a picture and its overview, or the picture alone, into uint8 [slots, side, side, 3].

    A cut picture is stretched to its grid and to the overview whatever `fit` is, as InternVL does; one that is not cut
    is made square by `fit`, as without tiles.

    Raises:
      PictureError: it cannot be decoded.
    """
    data, (columns, rows) = shot
    side = out.shape[1]
    if len(out) == 1:
        preprocessing.decode_image(data, side, fit, by=by, out=out[0])
        return
    with preprocessing.decoded(data, by=by) as pixels:
        image = Image.fromarray(pixels) if isinstance(pixels, np.ndarray) else pixels
        whole = image.resize((columns * side, rows * side), Image.Resampling.BICUBIC)
        out[:-1] = split(np.asarray(whole), side)
        out[-1] = np.asarray(image.resize((side, side), Image.Resampling.BICUBIC))


def split(canvas: np.ndarray, side: int) -> np.ndarray:
    """Returns the tiles of a canvas [rows * side, columns * side, c], row by row, [rows * columns, side, side, c]."""
    rows, columns = canvas.shape[0] // side, canvas.shape[1] // side
    parts = canvas.reshape(rows, side, columns, side, -1).swapaxes(1, 2)
    return parts.reshape(rows * columns, side, side, -1)


def joined(tiles: np.ndarray, columns: int) -> np.ndarray:
    """Returns the canvas of tiles: what `split` took apart."""
    count, side, _, channels = tiles.shape
    rows = count // columns
    parts = tiles.reshape(rows, columns, side, side, channels).swapaxes(1, 2)
    return parts.reshape(rows * side, columns * side, channels)


def changed(pictures: np.ndarray, cuts: Sequence[Grid], change: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
    """Returns a record's pictures changed, tiles as the canvas that they are parts of, so that they still fit together.

    Args:
      pictures: uint8 [slots, h, w, 3], the slots of all pictures in order.
      cuts: How each picture is cut.
      change: From uint8 [n, h, w, 3] to the same shape, all n alike; the same change each time it is called.
    """
    if all(cut == WHOLE for cut in cuts):
        return change(pictures)
    parts, first = [], 0
    for cut in cuts:
        own = pictures[first : first + cut.slots]
        if cut != WHOLE:
            canvas = change(joined(own[:-1], cut.columns)[None])[0]
            parts.append(split(canvas, own.shape[1]))
        parts.append(change(own[-1:]))
        first += cut.slots
    return np.concatenate(parts)
