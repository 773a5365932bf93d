"""Two handwritten digits: side by side in one picture, or in two pictures."""

import dataclasses
import itertools
from collections.abc import Iterator

import numpy as np

from m3it_jax import rng
from m3it_jax.dataset_building.mini import digits, drawing
from m3it_jax.dataset_building.specification import Assets, Draft

_SIZES = (24, 32)  # pixels of a digit's side: two fit beside each other

_QUESTIONS = {
    "pair-left": ("which digit is on the left?", "what is the left digit?"),
    "pair-right": ("which digit is on the right?", "what is the right digit?"),
    "pair-sum": ("what is the sum of the two digits?", "what do the two digits add up to?"),
    "pair-larger": ("which digit is larger, left or right?", "on which side is the larger digit?"),
    "two-sum": ("what is the sum of the two pictures?", "what do the digits of both pictures add up to?"),
    "two-larger": ("which picture has the larger digit?", "in which picture is the digit larger?"),
}


@dataclasses.dataclass(frozen=True)
class Pair:
    """Two digits beside each other in one picture, uint8 [64, 64, 3]."""

    left: drawing.Digit
    right: drawing.Digit
    picture: np.ndarray

    def draft(self, skill: str, inputs: str, outputs: str) -> Draft:
        """Returns a record about this picture."""
        return Draft(
            skill=skill,
            inputs=inputs,
            outputs=outputs,
            images=(self.picture,),
            group=f"{self.left.group}+{self.right.group}",
            captions=(self.caption(),),
            attributes={"left_digit": str(self.left.value), "right_digit": str(self.right.value)},
        )

    def caption(self) -> str:
        """Returns both digits in order."""
        return f"{drawing.spoken(self.left.value)} left of {drawing.spoken(self.right.value)}"

    def answer(self, skill: str) -> str:
        """Returns the answer to a question of that skill."""
        left, right = self.left.value, self.right.value
        side = "left" if left > right else "right" if right > left else "equal"
        answers = {"pair-left": left, "pair-right": right, "pair-sum": left + right, "pair-larger": side}
        return str(answers[skill])


def pairs(split: str, seed: int, name: str) -> Iterator[tuple[Pair, np.random.Generator]]:
    """Yields pairs without end."""
    generator = rng.generator(seed, name, split)
    found = drawing.digits(split, seed)
    half = drawing.SIDE // 2
    while True:
        left, right = (found[i] for i in generator.choice(len(found), 2, replace=False))
        ink, paper = drawing.colours(generator)
        picture = drawing.canvas(paper)
        for side, digit in enumerate((left, right)):
            size = int(generator.integers(_SIZES[0], _SIZES[1] + 1))
            x = side * half + int(generator.integers(0, half - size + 1))
            y = int(generator.integers(0, drawing.SIDE - size + 1))
            drawing.put_digit(picture, digit, left=x, top=y, size=size, ink=ink)
        yield Pair(left, right, picture), generator


def captions(assets: Assets, split: str, seed: int) -> Iterator[Draft]:
    """Yields `a 3 left of a 7`."""
    for pair, _ in pairs(split, seed, "pairs-caption"):
        yield pair.draft("pair-caption", "", pair.caption())


def questions(assets: Assets, split: str, seed: int) -> Iterator[Draft]:
    """Yields the four questions in turns, each about a picture of its own; `equal` when no digit is larger."""
    skills = itertools.cycle(("pair-left", "pair-right", "pair-sum", "pair-larger"))
    for skill, (pair, generator) in zip(skills, pairs(split, seed, "pairs-reasoning"), strict=False):
        yield pair.draft(skill, drawing.pick(generator, _QUESTIONS[skill]), pair.answer(skill))


def two_pictures(assets: Assets, split: str, seed: int) -> Iterator[Draft]:
    """Yields two pictures with a digit each and asks for the sum and for the larger one, in turns."""
    generator = rng.generator(seed, "two-pictures", split)
    found = drawing.digits(split, seed)
    for skill in itertools.cycle(("two-sum", "two-larger")):
        chosen = [found[i] for i in generator.choice(len(found), 2, replace=False)]
        first, second = (digits.scene(digit, generator) for digit in chosen)
        values = first.digit.value, second.digit.value
        larger = "first" if values[0] > values[1] else "second" if values[1] > values[0] else "same"
        yield Draft(
            skill=skill,
            inputs=drawing.pick(generator, _QUESTIONS[skill]),
            outputs=str(sum(values)) if skill == "two-sum" else larger,
            images=(first.picture, second.picture),
            group=f"{first.digit.group}+{second.digit.group}",
            captions=(first.caption(), second.caption()),
            attributes=first.attributes(),
        )
