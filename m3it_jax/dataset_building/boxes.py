"""Marking a region on a picture: array + box -> array. No files, no state."""

import numpy as np

RED = (255, 0, 0)

# Side of a picture, in pixels, for each pixel of line width: 64 px gives one pixel, 448 px seven. Own choice: the line
# then covers the same share of every picture, and survives a resize to a model's input.
_SIDE_PER_LINE = 64


def line_width(height: int, width: int) -> int:
    """Returns the line width in pixels for a picture of that size; at least 1."""
    return max(1, round(max(height, width) / _SIDE_PER_LINE))


def draw_box(image: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """Returns a copy of `image` (uint8 [h, w, 3]) with a red rectangle whose outer edge is `box`.

    The box is (left, top, right, bottom) in pixels, right and bottom excluded; what lies outside the picture is cut.

    Raises:
      ValueError: the box is empty or wholly outside.
    """
    height, width = image.shape[:2]
    left, top, right, bottom = box
    left, top, right, bottom = max(left, 0), max(top, 0), min(right, width), min(bottom, height)
    if left >= right or top >= bottom:
        raise ValueError(f"box {box} has no pixel in a picture of {width} x {height}")
    line = line_width(height, width)
    marked = image.copy()
    inner = (slice(top + line, max(bottom - line, top + line)), slice(left + line, max(right - line, left + line)))
    marked[top:bottom, left:right] = RED
    marked[inner] = image[inner]
    return marked
