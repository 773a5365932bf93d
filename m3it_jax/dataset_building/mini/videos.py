"""Eight frames of a digit that moves one way."""

import dataclasses
import functools
from collections.abc import Iterator

import numpy as np

from m3it_jax import rng
from m3it_jax.dataset_building.mini import drawing
from m3it_jax.dataset_building.specification import Assets, Draft

NUM_FRAMES = 8  # as many as M3IT takes of a video (arXiv 2306.04387, appendix on video data)
DIRECTIONS = {"left": (-1, 0, "向左"), "right": (1, 0, "向右"), "up": (0, -1, "向上"), "down": (0, 1, "向下")}
NUM_CLIPS = {"train": 1500, "validation": 120, "test": 300}

_SIZES = (20, 28)  # pixels of the digit's side
_STEPS = (3, 5)  # pixels a frame: 7 steps of 5 and a digit of 28 just fit into 64

_DIRECTION_QUESTIONS = ("which way does the digit move?", "in which direction does it move?")
_DIGIT_QUESTIONS = ("which digit is moving?", "what number moves in the video?")
_DIRECTION_QUESTIONS_ZH = ("数字向哪个方向移动？", "视频中的数字往哪边移动？")


@dataclasses.dataclass(frozen=True)
class Clip:
    """A digit that moves: 8 frames, uint8 [64, 64, 3] each, with the digit's (column, row) of 8 in each."""

    digit: drawing.Digit
    direction: str
    frames: tuple[np.ndarray, ...]
    places: tuple[tuple[int, int], ...]

    def draft(self, skill: str, inputs: str, outputs: str) -> Draft:
        """Returns a record about this clip."""
        x_bin, y_bin = self.places[0]
        return Draft(
            skill=skill,
            inputs=inputs,
            outputs=outputs,
            images=self.frames,
            group=self.digit.group,
            captions=tuple(f"{drawing.spoken(self.digit.value)} {drawing.grid_name(*place)}" for place in self.places),
            attributes={"digit": str(self.digit.value), "x_bin": str(x_bin), "y_bin": str(y_bin)},
        )


def _clip(digit: drawing.Digit, direction: str, generator: np.random.Generator) -> Clip:
    ink, paper = drawing.colours(generator)
    size, step = (int(generator.integers(low, high + 1)) for low, high in (_SIZES, _STEPS))
    room, way = drawing.SIDE - size, step * (NUM_FRAMES - 1)
    starts = []
    for sign in DIRECTIONS[direction][:2]:
        low, high = (way, room) if sign < 0 else (0, room - way) if sign > 0 else (0, room)
        starts.append((int(generator.integers(low, high + 1)), sign * step))
    frames, places = [], []
    for number in range(NUM_FRAMES):
        left, top = (start + number * change for start, change in starts)
        picture = drawing.canvas(paper)
        drawing.put_digit(picture, digit, left=left, top=top, size=size, ink=ink)
        frames.append(picture)
        places.append((drawing.bin_of(left + size / 2), drawing.bin_of(top + size / 2)))
    return Clip(digit, direction, tuple(frames), tuple(places))


@functools.lru_cache(maxsize=3)
def clips(split: str, seed: int) -> tuple[Clip, ...]:
    """Returns the clips of a split; the three video sources ask about the same ones."""
    generator = rng.generator(seed, "videos", split)
    found = drawing.digits(split, seed)
    names = tuple(DIRECTIONS)
    chosen = [found[i] for i in np.resize(generator.permutation(len(found)), NUM_CLIPS[split])]
    return tuple(_clip(digit, drawing.pick(generator, names), generator) for digit in chosen)


def captions(assets: Assets, split: str, seed: int) -> Iterator[Draft]:
    """Yields `a 3 moving left`."""
    for clip in clips(split, seed):
        yield clip.draft("video-caption", "", f"{drawing.spoken(clip.digit.value)} moving {clip.direction}")


def questions(assets: Assets, split: str, seed: int) -> Iterator[Draft]:
    """Yields the direction and the digit of each clip."""
    generator = rng.generator(seed, "video-digits", split)
    for clip in clips(split, seed):
        yield clip.draft("video-direction", drawing.pick(generator, _DIRECTION_QUESTIONS), clip.direction)
        yield clip.draft("video-digit", drawing.pick(generator, _DIGIT_QUESTIONS), str(clip.digit.value))


def questions_zh(assets: Assets, split: str, seed: int) -> Iterator[Draft]:
    """Yields the direction asked in Chinese."""
    generator = rng.generator(seed, "video-digits-zh", split)
    for clip in clips(split, seed):
        answer = DIRECTIONS[clip.direction][2]
        yield clip.draft("video-direction-zh", drawing.pick(generator, _DIRECTION_QUESTIONS_ZH), answer)
