"""One handwritten digit somewhere in a picture, several with one in a red box, and a dialogue about one."""

import dataclasses
from collections.abc import Iterator

import numpy as np

from m3it_jax import rng
from m3it_jax.dataset_building.media import boxes
from m3it_jax.dataset_building.mini import drawing
from m3it_jax.dataset_building.specification import Assets, Draft

NUMERALS_ZH = "零一二三四五六七八九"

_SIZES = (24, drawing.SIDE)  # pixels of a digit's side
_SIZE_POWER = 0.6  # below 1: more large digits than small ones, which a tower of 8-pixel patches hardly reads
_BOXED_SIZES = (20, 26)
_NUM_OPTIONS = 4
_RED_CONTRAST = 250.0  # least difference between paper and the box's red, summed over the channels

_DIGIT_QUESTIONS = ("which digit is this?", "what number is written here?", "which digit is in the picture?")
_PARITY_QUESTIONS = ("is the digit even or odd?", "is this number even or odd?", "even or odd?")
_DIGIT_QUESTIONS_ZH = ("图中是数字几？", "这是哪个数字？", "图中写的是几？")
_MONTH_QUESTIONS = (
    "which month has this number?",
    "which month of the year is this?",
    "what is the name of this month?",
)
_BOX_QUESTIONS = ("which digit is in the red box?", "what number does the red box mark?", "which digit is boxed?")


@dataclasses.dataclass(frozen=True)
class Scene:
    """One digit in a picture, uint8 [64, 64, 3], with its place."""

    digit: drawing.Digit
    picture: np.ndarray
    place: str
    x_bin: int
    y_bin: int

    def caption(self) -> str:
        """Returns every fact: the digit, its place in words and in the 8 x 8 grid."""
        return f"a handwritten {self.digit.value} {self.place}, {drawing.grid_name(self.x_bin, self.y_bin)[3:]}"

    def attributes(self) -> dict[str, str]:
        """Returns the labels of this picture."""
        return {"digit": str(self.digit.value), "x_bin": str(self.x_bin), "y_bin": str(self.y_bin)}

    def draft(self, skill: str, inputs: str, outputs: str) -> Draft:
        """Returns a record about this picture alone."""
        return Draft(
            skill=skill,
            inputs=inputs,
            outputs=outputs,
            images=(self.picture,),
            group=self.digit.group,
            captions=(self.caption(),),
            attributes=self.attributes(),
        )


def scene(digit: drawing.Digit, generator: np.random.Generator) -> Scene:
    """Returns a picture of `digit` with drawn size, place and colours."""
    ink, paper = drawing.colours(generator)
    size = round(_SIZES[0] + (_SIZES[1] - _SIZES[0]) * generator.random() ** _SIZE_POWER)
    left, top = drawing.clear_centre(generator, size), drawing.clear_centre(generator, size)
    picture = drawing.canvas(paper)
    drawing.put_digit(picture, digit, left=left, top=top, size=size, ink=ink)
    x, y = left + size / 2, top + size / 2
    return Scene(digit, picture, drawing.place_name(x, y), drawing.bin_of(x), drawing.bin_of(y))


def scenes(split: str, seed: int, name: str) -> Iterator[tuple[Scene, np.random.Generator]]:
    """Yields scenes without end; every digit of the split is used once before one is used again."""
    generator = rng.generator(seed, name, split)
    found = drawing.digits(split, seed)
    while True:
        for i in generator.permutation(len(found)):
            yield scene(found[i], generator), generator


def captions(assets: Assets, split: str, seed: int) -> Iterator[Draft]:
    """Yields `a handwritten 3 at the top left`."""
    for found, _ in scenes(split, seed, "digits-caption"):
        yield found.draft("digit-caption", "", f"a handwritten {found.digit.value} {found.place}")


def questions(assets: Assets, split: str, seed: int) -> Iterator[Draft]:
    """Yields the digit and whether it is even, in turns, each about a picture of its own."""
    for number, (found, generator) in enumerate(scenes(split, seed, "digits-vqa")):
        if number % 2:
            answer = "odd" if found.digit.value % 2 else "even"
            yield found.draft("digit-parity", drawing.pick(generator, _PARITY_QUESTIONS), answer)
        else:
            yield found.draft("digit", drawing.pick(generator, _DIGIT_QUESTIONS), str(found.digit.value))


def questions_zh(assets: Assets, split: str, seed: int) -> Iterator[Draft]:
    """Yields the digit as a Chinese numeral."""
    for found, generator in scenes(split, seed, "digits-zh"):
        yield found.draft("digit-zh", drawing.pick(generator, _DIGIT_QUESTIONS_ZH), NUMERALS_ZH[found.digit.value])


def months(assets: Assets, split: str, seed: int) -> Iterator[Draft]:
    """Yields the month with the number in the picture; no month has number 0."""
    import babel

    names = babel.Locale("en").months["format"]["wide"]
    for found, generator in scenes(split, seed, "digits-facts"):
        if found.digit.value:
            yield found.draft("digit-month", drawing.pick(generator, _MONTH_QUESTIONS), names[found.digit.value])


def boxed(assets: Assets, split: str, seed: int) -> Iterator[Draft]:
    """Yields three or four digits, one in each quarter of the picture, and asks for the one in the red box."""
    generator = rng.generator(seed, "digits-region", split)
    found = drawing.digits(split, seed)
    half = drawing.SIDE // 2
    while True:
        ink, paper = drawing.colours(generator)
        if np.abs(paper - boxes.RED).sum() < _RED_CONTRAST:
            continue  # nobody would see the box
        picture = drawing.canvas(paper)
        chosen = [found[i] for i in generator.choice(len(found), int(generator.integers(3, 5)), replace=False)]
        places = []
        for digit, quarter in zip(chosen, generator.permutation(4), strict=False):
            size = int(generator.integers(_BOXED_SIZES[0], _BOXED_SIZES[1] + 1))
            # Two pixels stay free on each side, so that neither a box nor a digit touches its neighbour.
            left, top = (half * int(part) + int(generator.integers(2, half - size - 1)) for part in divmod(quarter, 2))
            drawing.put_digit(picture, digit, left=left, top=top, size=size, ink=ink)
            places.append((left - 2, top - 2, left + size + 2, top + size + 2))
        right = str(chosen[0].value)
        others = generator.permutation([str(value) for value in range(10) if str(value) != right])
        choices = [str(name) for name in generator.permutation([right, *others[: _NUM_OPTIONS - 1]])]
        lines = tuple(f"({letter}) {name}" for letter, name in zip("ABCD", choices, strict=True))
        values = " ".join(str(digit.value) for digit in generator.permutation(np.array(chosen, object)))
        yield Draft(
            skill="digit-in-box",
            inputs="\n".join((drawing.pick(generator, _BOX_QUESTIONS), *lines)),
            outputs=lines[choices.index(right)],
            images=(picture,),
            group="+".join(digit.group for digit in chosen),
            captions=(f"digits {values}, a red box around the {right}",),
            boxes=(places[0],),
            options=lines,
        )


def dialogues(assets: Assets, split: str, seed: int) -> Iterator[Draft]:
    """Yields a conversation about one digit: the turns so far are the inputs, the next turn is wanted."""
    for found, generator in scenes(split, seed, "digits-dialogue"):
        value = found.digit.value
        parity, larger = ("odd" if value % 2 else "even"), ("yes" if value > 4 else "no")
        turns = [
            ("which digit is it?", str(value), f"it is {drawing.spoken(value)}."),
            ("where is it?", found.place, f"the {value} is {found.place}."),
            ("is it even or odd?", parity, f"the {value} is {parity}."),
            ("is it larger than 4?", larger, f"{larger}, it is {drawing.spoken(value)}."),
        ]
        past, now = (turns[i] for i in generator.permutation(len(turns))[:2])
        yield found.draft("dialogue", f"{past[0]} {past[1]}\n{now[0]}", now[2])
