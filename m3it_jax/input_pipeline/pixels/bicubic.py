"""Pillow's bicubic resampling of a few rows and columns alone, for pictures whose whole result would be far too large.

A strip of 20,000 x 1 pixels whose shorter side becomes 336 has 6,720,000 columns, of which a tower reads 336. Pillow
can resample a part (`Image.resize(box=...)`), but takes its edges as float32, which shifts the weights; here the
weights of the columns that are read are those of the whole. Bit for bit Pillow's: src/libImaging/Resample.c.
"""

import math

import numpy as np

_PRECISION = 22  # bits behind the point of a weight: 32 - 8 - 2 (PRECISION_BITS)
_SLOPE = -0.5  # `a` of bicubic_filter
_REACH = 2.0  # pixels on either side that its kernel covers


def middle(pixels: np.ndarray, size: tuple[int, int], *, side: int) -> np.ndarray:
    """Returns the middle of a picture as if all of it had been resized, uint8 [side, side, 3].

    Args:
      pixels: uint8 [h, w, 3].
      size: (height, width) of the whole result; neither is below `side`.
      side: Of the square in the middle, whose upper left corner is rounded down.
    """
    height, width = size
    top, left = (height - side) // 2, (width - side) // 2
    if rows_first(pixels.shape[:2], size):
        pixels = _part(pixels, height, begin=top, count=side)
        pixels = _part(pixels.swapaxes(0, 1), width, begin=left, count=side).swapaxes(0, 1)
    else:
        pixels = _part(pixels.swapaxes(0, 1), width, begin=left, count=side).swapaxes(0, 1)
        pixels = _part(pixels, height, begin=top, count=side)
    return np.ascontiguousarray(pixels)


def rows_first(have: tuple[int, ...], size: tuple[int, int]) -> bool:
    """Returns whether Pillow resamples rows before columns, as it does with narrow strips that become shorter.

    Bytes are rounded between the two passes, so their order decides the last bit (PIL/Image.py, Image.resize).

    Args:
      have: (height, width) of the picture.
      size: (height, width) of the whole result.
    """
    return have[0] > 100 * have[1] and size[0] < have[0]


def _part(pixels: np.ndarray, size: int, *, begin: int, count: int) -> np.ndarray:
    if size == len(pixels):
        return pixels[begin : begin + count]
    return _resampled(pixels, size, begin=begin, count=count)


def _resampled(pixels: np.ndarray, size: int, *, begin: int, count: int) -> np.ndarray:
    """Returns rows [begin, begin + count) of a picture whose rows become `size`, uint8 [count, ...]."""
    scale = len(pixels) / size
    stretch = max(scale, 1.0)
    support = _REACH * stretch
    made = np.empty((count, *pixels.shape[1:]), np.uint8)
    for place in range(count):
        center = (begin + place + 0.5) * scale
        first = max(int(center - support + 0.5), 0)
        last = min(int(center + support + 0.5), len(pixels))
        weights = _weights(first, last, center=center, shrink=1.0 / stretch)
        total = np.tensordot(weights, pixels[first:last].astype(np.int64), axes=1) + (1 << (_PRECISION - 1))
        made[place] = np.clip(total >> _PRECISION, 0, 255)
    return made


def _weights(first: int, last: int, *, center: float, shrink: float) -> np.ndarray:
    """Returns the weights of pixels [first, last) of a result at `center`, int64 with `_PRECISION` bits of fraction."""
    found = [_bicubic((place - center + 0.5) * shrink) for place in range(first, last)]
    total = 0.0
    for weight in found:  # one after another: the sum of math.fsum or NumPy may differ in the last bit
        total += weight
    whole = [weight / total * (1 << _PRECISION) for weight in found]
    return np.array([math.trunc(weight + math.copysign(0.5, weight)) for weight in whole], np.int64)


def _bicubic(x: float) -> float:
    x = abs(x)
    if x < 1.0:
        return ((_SLOPE + 2.0) * x - (_SLOPE + 3.0)) * x * x + 1
    return (((x - 5) * x + 8) * x - 4) * _SLOPE if x < _REACH else 0.0
