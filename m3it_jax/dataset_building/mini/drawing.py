"""What the families of the small edition share: canvas size, places, colours, digits and their splits."""

import dataclasses
import functools

import numpy as np
from PIL import Image

from m3it_jax import rng

SIDE = 64  # pixels of a picture's side
NUM_BINS = 8  # columns and rows of the finer grid
NUM_TEST_DIGITS, NUM_VALIDATION_DIGITS = 360, 150

_LEVELS = 16  # scikit-learn's digits have ink from 0 to 16
_INK, _PAPER = (150.0, 255.0), (0.0, 90.0)  # range of each colour channel
_BORDER = 2.5  # pixels around the borders of the 3 x 3 grid that no centre lies in: a place has one name

_ROWS = ("top", "", "bottom")
_COLUMNS = ("left", "", "right")


@dataclasses.dataclass(frozen=True)
class Digit:
    """One handwritten digit: `value` 0 to 9, `ink` uint8 [8, 8] (255 is full ink), `group` its identity."""

    value: int
    ink: np.ndarray
    group: str


@functools.cache
def digits(split: str, seed: int) -> tuple[Digit, ...]:
    """Returns the handwritten digits of a split: 360 for test, 150 for validation, the other 1,287 for train."""
    from sklearn import datasets  # takes a second to import

    data = datasets.load_digits()
    order = rng.generator(seed, "digits", "split").permutation(len(data.target))
    ends = {"test": (0, NUM_TEST_DIGITS), "validation": (NUM_TEST_DIGITS, NUM_TEST_DIGITS + NUM_VALIDATION_DIGITS)}
    first, last = ends.get(split, (NUM_TEST_DIGITS + NUM_VALIDATION_DIGITS, len(order)))
    ink = np.round(data.images * (255 / _LEVELS)).astype(np.uint8)
    return tuple(Digit(int(data.target[i]), ink[i], f"digit-{i:04d}") for i in sorted(order[first:last]))


def pick(generator: np.random.Generator, choices: tuple[str, ...]) -> str:
    """Returns one of the choices."""
    return choices[int(generator.integers(len(choices)))]


def colours(generator: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Returns (ink, paper), float [3] each in 0..255: bright ink of any hue on dark paper of any hue.

    A plain ViT has to learn for itself that dark on bright is the same digit: that cost it more than all else.
    """
    return generator.uniform(*_INK, 3), generator.uniform(*_PAPER, 3)


def canvas(paper: np.ndarray) -> np.ndarray:
    """Returns an empty picture, uint8 [64, 64, 3], of one colour."""
    return np.broadcast_to(np.round(paper).astype(np.uint8), (SIDE, SIDE, 3)).copy()


@functools.lru_cache(maxsize=4096)
def _enlarged(raw: bytes, size: int) -> np.ndarray:
    ink = Image.frombytes("L", (8, 8), raw).resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(ink, np.float32)[..., None] / 255


def put_digit(picture: np.ndarray, digit: Digit, *, left: int, top: int, size: int, ink: np.ndarray) -> None:
    """Draws a digit into `picture` (uint8 [h, w, 3], changed in place); all of it must lie inside."""
    share = _enlarged(digit.ink.tobytes(), size)
    region = picture[top : top + size, left : left + size]
    region[:] = np.round(region + (ink - region) * share).astype(np.uint8)


def bin_of(centre: float) -> int:
    """Returns which of the 8 columns (or rows) a centre in pixels lies in, from 0."""
    return min(int(centre * NUM_BINS / SIDE), NUM_BINS - 1)


def grid_name(x_bin: int, y_bin: int) -> str:
    """Returns the place in the 8 x 8 grid in words, from 1: `at column 2 row 5`."""
    return f"at column {x_bin + 1} row {y_bin + 1}"


def spoken(value: int) -> str:
    """Returns a digit with its article: `a 3`, `an 8`."""
    return f"an {value}" if value == 8 else f"a {value}"


def place_name(x: float, y: float) -> str:
    """Returns the place of a centre (pixels) in the 3 x 3 grid: `at the top left`, ..., `in the middle`."""
    row, column = _ROWS[int(y * 3 / SIDE)], _COLUMNS[int(x * 3 / SIDE)]
    words = " ".join(word for word in (row, column) if word)
    return f"at the {words}" if words else "in the middle"


def clear_centre(generator: np.random.Generator, size: int) -> int:
    """Returns the left (or top) edge of an object of `size` pixels, with its centre clearly in one third."""
    while True:
        edge = int(generator.integers(0, SIDE - size + 1))
        centre = edge + size / 2
        if all(abs(centre - border) >= _BORDER for border in (SIDE / 3, 2 * SIDE / 3)):
            return edge
