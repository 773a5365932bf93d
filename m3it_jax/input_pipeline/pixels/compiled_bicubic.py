"""Pillow's bicubic resampling compiled by numba: the same whole numbers in a third of the time. Extra `fast`.

Pillow (src/libImaging/Resample.c) resamples columns, rounds to bytes, then rows, with weights of 22 bits. Here both
passes go over many bytes with one weight at a time, which the compiler turns into wide instructions: columns of 32 rows
at once, which are turned over for that, and whole rows. `bicubic` says the same in NumPy; `decoders` compares both with
Pillow before this is used. It waits for no lock of Python, so threads resize side by side.
"""

import functools
import math

import numba
import numpy as np

from m3it_jax.input_pipeline.pixels import bicubic

_PRECISION = 22  # bits behind the point of a weight: 32 - 8 - 2 (PRECISION_BITS)
_ROWS = 32  # CHOICE: rows whose columns are resampled together; 96 bytes of three colours fill whole registers

Table = tuple[np.ndarray, np.ndarray, np.ndarray]


def resize(pixels: np.ndarray, size: tuple[int, int], out: np.ndarray) -> None:
    """Writes the middle of a resized picture into `out`.

    Args:
      pixels: uint8 [h, w, 3].
      size: (height, width) of the whole result.
      out: uint8 [side, side, 3]; neither of `size` is below `side`. Its corner in the whole is rounded down.
    """
    side = len(out)
    rows, columns = (
        _table(have, wanted, ((wanted - side) // 2, side)) for have, wanted in zip(pixels.shape[:2], size, strict=True)
    )
    if bicubic.rows_first(pixels.shape[:2], size):  # rows before columns: those of the picture that lies on its side
        lying = np.empty((side, side, 3), np.uint8)
        _resample(np.ascontiguousarray(pixels.swapaxes(0, 1)), (rows, columns), lying.reshape(side, -1))
        out[:] = lying.swapaxes(0, 1)
    else:
        _resample(np.ascontiguousarray(pixels), (columns, rows), out.reshape(side, -1))


@functools.lru_cache(maxsize=4096)
def _table(have: int, wanted: int, part: tuple[int, int]) -> Table:
    """Returns, of `part` (begin, count) of the results: the first pixel of each, how many it has, and their weights."""
    return _weights(have, wanted, part)


@numba.njit(nogil=True, cache=True)
def _weights(have, wanted, part):
    """As `bicubic._weights` and its caller, in the same order of operations: the last bit decides a pixel."""
    begin, count = part
    scale = have / wanted
    stretch = max(scale, 1.0)
    support = 2.0 * stretch
    first, number = np.empty(count, np.int64), np.empty(count, np.int64)
    weights = np.zeros((count, int(math.ceil(support)) * 2 + 1), np.int32)
    found = np.empty(weights.shape[1], np.float64)
    shrink = 1.0 / stretch
    for place in range(count):
        center = (begin + place + 0.5) * scale
        low = max(int(center - support + 0.5), 0)
        high = min(int(center + support + 0.5), have)
        total = 0.0
        for each in range(low, high):
            x = abs((each - center + 0.5) * shrink)
            value = 0.0
            if x < 1.0:
                value = ((-0.5 + 2.0) * x - (-0.5 + 3.0)) * x * x + 1
            elif x < 2.0:
                value = (((x - 5) * x + 8) * x - 4) * -0.5
            found[each - low] = value
            total += value
        for each in range(high - low):
            whole = found[each] / total * (1 << _PRECISION)
            weights[place, each] = int(whole + math.copysign(0.5, whole))
        first[place], number[place] = low, high - low
    return first, number, weights


@numba.njit(nogil=True, cache=True)
def _resample(pixels, tables, out):
    """Writes out, uint8 [rows, columns * 3]; the tables are that of the columns and that of the rows."""
    left, across, column_weights = tables[0]
    top, down, row_weights = tables[1]
    width, num_columns, half = pixels.shape[1], len(left), np.int32(1 << (_PRECISION - 1))
    begin, end = top[0], top[-1] + down[-1]  # the rows that are read at all
    middle = np.empty((end - begin, num_columns * 3), np.uint8)
    turned = np.zeros((width, 3 * _ROWS), np.uint8)
    total = np.empty(3 * _ROWS, np.int32)
    for row in range(begin, end, _ROWS):
        high = min(_ROWS, end - row)
        for each in range(high):
            for x in range(width):
                for colour in range(3):
                    turned[x, colour * _ROWS + each] = pixels[row + each, x, colour]
        for column in range(num_columns):
            total[:] = half
            for tap in range(across[column]):
                weight, line = column_weights[column, tap], turned[left[column] + tap]
                for place in range(3 * _ROWS):
                    total[place] += weight * np.int32(line[place])
            for place in range(3 * _ROWS):
                total[place] = min(max(total[place] >> _PRECISION, np.int32(0)), np.int32(255))
            for colour in range(3):
                for each in range(high):
                    middle[row - begin + each, column * 3 + colour] = np.uint8(total[colour * _ROWS + each])
    sums = np.empty(num_columns * 3, np.int32)
    for row in range(len(top)):
        sums[:] = half
        for tap in range(down[row]):
            weight, line = row_weights[row, tap], middle[top[row] - begin + tap]
            for place in range(num_columns * 3):
                sums[place] += weight * np.int32(line[place])
        made = out[row]
        for place in range(num_columns * 3):
            made[place] = np.uint8(min(max(sums[place] >> _PRECISION, np.int32(0)), np.int32(255)))
