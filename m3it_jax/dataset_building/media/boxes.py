"""Marking a region on a picture: array + box -> array. No files, no state."""

from collections.abc import Mapping

import numpy as np

# M3IT draws a red rectangle in place of coordinates, several colours for VCR (arXiv 2306.04387, section 3.2). Which
# colours is not published; these have one common English name each and are far from one another.
COLOURS: Mapping[str, tuple[int, int, int]] = {
    "red": (255, 0, 0),
    "green": (0, 160, 0),
    "blue": (0, 0, 255),
    "yellow": (255, 225, 0),
    "purple": (150, 0, 200),
    "orange": (255, 140, 0),
    "cyan": (0, 200, 220),
    "pink": (255, 105, 180),
    "brown": (140, 80, 20),
    "white": (255, 255, 255),
    "black": (0, 0, 0),
    "grey": (128, 128, 128),
}
RED = COLOURS["red"]

# Side of a picture, in pixels, for each pixel of line width: 64 px gives one pixel, 448 px seven. Own choice: the line
# then covers the same share of every picture, and survives a resize to a model's input.
_SIDE_PER_LINE = 64


def line_width(height: int, width: int) -> int:
    """Returns the line width in pixels for a picture of that size; at least 1."""
    return max(1, round(max(height, width) / _SIDE_PER_LINE))


def draw_box(image: np.ndarray, box: tuple[int, int, int, int], colour: str = "red") -> np.ndarray:
    """Returns a copy of `image` (uint8 [h, w, 3]) with a rectangle of that colour whose outer edge is `box`.

    The box is (left, top, right, bottom) in pixels, right and bottom excluded; what lies outside the picture is cut.

    Raises:
      ValueError: the box is empty or wholly outside.
      KeyError: the colour is not one of `COLOURS`.
    """
    height, width = image.shape[:2]
    left, top, right, bottom = box
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    if left >= right or top >= bottom:
        raise ValueError(f"box {box} has no pixel in a picture of {width} x {height}")
    line = line_width(height, width)
    marked = image.copy()
    inner = (slice(top + line, max(bottom - line, top + line)), slice(left + line, max(right - line, left + line)))
    marked[top:bottom, left:right] = COLOURS[colour]
    marked[inner] = image[inner]
    return marked
