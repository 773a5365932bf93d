"""Coloured shapes: the pictures and questions of easy-VQA, captions and options made from their answers."""

import collections
import dataclasses
import functools
import json
import pathlib
import re
from collections.abc import Iterator

from m3it_jax import rng
from m3it_jax.dataset_building.specification import Assets, Draft

COLOURS = {
    "black": "黑色",
    "blue": "蓝色",
    "brown": "棕色",
    "gray": "灰色",
    "green": "绿色",
    "red": "红色",
    "teal": "青色",
    "yellow": "黄色",
}
SHAPES = {"circle": "圆形", "rectangle": "矩形", "triangle": "三角形"}

_NUM_OPTIONS = 4
_VALIDATION_SHARE = 0.1  # of easy-VQA's train pictures

_COLOUR_QUESTIONS = ("what color is the shape?", "which color is shown?", "what is the color of the object?")
_SHAPE_QUESTIONS = ("what shape is in the image?", "which shape is shown?", "what is the shape of the object?")
_COLOUR_QUESTIONS_ZH = ("图形是什么颜色？", "这个图形的颜色是什么？", "图中的图形是哪种颜色？")
_SHAPE_QUESTIONS_ZH = ("图中是什么形状？", "这个图形的形状是什么？", "图中的图形是哪种形状？")


@dataclasses.dataclass(frozen=True)
class Picture:
    """One picture of easy-VQA with its facts and its own (question, answer) pairs."""

    data: bytes
    group: str
    colour: str
    shape: str
    questions: tuple[tuple[str, str], ...]

    def draft(self, skill: str, inputs: str, outputs: str, *, options: tuple[str, ...] = ()) -> Draft:
        """Returns a record about this picture."""
        caption = f"a {self.colour} {self.shape}"
        return Draft(
            skill=skill,
            inputs=inputs,
            outputs=outputs,
            images=(self.data,),
            group=self.group,
            captions=(caption,),
            attributes={"colour": self.colour, "shape": self.shape},
            options=options,
        )


def _facts(questions: list[tuple[str, str]]) -> tuple[str, str] | None:
    """Returns (colour, shape) as far as the questions and their answers tell both, else None."""
    colours: set[str] = set()
    shapes: set[str] = set()
    for question, answer in questions:
        words = re.findall(r"\w+", question)
        negated = "not" in words or "no" in words
        if answer in ("yes", "no") and (answer == "yes") == negated:
            continue  # tells what the picture does not show
        colours.update(word for word in (*words, answer) if word in COLOURS)
        shapes.update(word for word in (*words, answer) if word in SHAPES)
    return (colours.pop(), shapes.pop()) if len(colours) == len(shapes) == 1 else None


@functools.cache
def pictures(split: str, seed: int) -> tuple[Picture, ...]:
    """Returns the pictures of a split whose colour and shape the questions tell (89 of 100), in shuffled order."""
    import easy_vqa

    original = "test" if split == "test" else "train"
    folder = pathlib.Path(easy_vqa.__file__).parent / "data" / original
    questions = collections.defaultdict(list)
    for question, answer, number in json.loads((folder / "questions.json").read_text()):
        questions[number].append((question, answer))
    order = [int(i) for i in rng.generator(seed, "shapes", original).permutation(sorted(questions))]
    num_validation = round(_VALIDATION_SHARE * len(order))
    part = {"test": order, "validation": order[:num_validation], "train": order[num_validation:]}[split]
    found = []
    for number in part:
        facts = _facts(questions[number])
        if facts:
            data = (folder / "images" / f"{number}.png").read_bytes()
            group = f"easy-vqa-{original}-{number}"
            found.append(Picture(data, group, *facts, tuple(questions[number])))
    return tuple(found)


def captions(assets: Assets, split: str, seed: int) -> Iterator[Draft]:
    """Yields `a blue circle` for each picture."""
    for picture in pictures(split, seed):
        yield picture.draft("shapes-caption", "", f"a {picture.colour} {picture.shape}")


def captions_zh(assets: Assets, split: str, seed: int) -> Iterator[Draft]:
    """Yields `一个蓝色的圆形` for each picture."""
    for picture in pictures(split, seed):
        outputs = f"一个{COLOURS[picture.colour]}的{SHAPES[picture.shape]}"
        yield picture.draft("shapes-caption-zh", "", outputs)


def questions(assets: Assets, split: str, seed: int) -> Iterator[Draft]:
    """Yields easy-VQA's own questions, one of each picture after the other, each once."""
    queues = []
    for picture in pictures(split, seed):
        order = rng.generator(seed, "shapes-vqa", picture.group).permutation(len(picture.questions))
        queues.append((picture, [picture.questions[i] for i in order]))
    for turn in range(max(len(queue) for _, queue in queues)):
        for picture, queue in queues:
            if turn < len(queue):
                yield picture.draft("shapes-vqa", *queue[turn])


def _rounds(split: str, seed: int, name: str) -> Iterator[tuple[Picture, int]]:
    """Yields each picture with 0, then each with 1, in an order drawn for `name`."""
    found = pictures(split, seed)
    for turn in range(2):
        for i in rng.generator(seed, name, split, turn).permutation(len(found)):
            yield found[i], turn


def options(assets: Assets, split: str, seed: int) -> Iterator[Draft]:
    """Yields questions with lettered options, one a line; the answer is the whole line."""
    generator = rng.generator(seed, "shapes-options", split, "text")
    for picture, _ in _rounds(split, seed, "shapes-options"):
        about_colour = bool(generator.integers(2))
        right, table = (picture.colour, COLOURS) if about_colour else (picture.shape, SHAPES)
        wordings = _COLOUR_QUESTIONS if about_colour else _SHAPE_QUESTIONS
        question = wordings[int(generator.integers(len(wordings)))]
        wrong = generator.permutation([name for name in table if name != right])[: _NUM_OPTIONS - 1]
        choices = [str(name) for name in generator.permutation([right, *wrong])]
        lines = tuple(f"({letter}) {name}" for letter, name in zip("ABCD", choices, strict=False))
        yield picture.draft("shapes-options", "\n".join((question, *lines)), lines[choices.index(right)], options=lines)


def facts_zh(assets: Assets, split: str, seed: int) -> Iterator[Draft]:
    """Yields the colour and the shape asked in Chinese, each picture with one of them, then with the other."""
    generator = rng.generator(seed, "shapes-vqa-zh", split, "text")
    first: dict[str, bool] = {}
    for picture, turn in _rounds(split, seed, "shapes-vqa-zh"):
        about_colour = bool(generator.integers(2)) if turn == 0 else not first[picture.group]
        first.setdefault(picture.group, about_colour)
        wordings = _COLOUR_QUESTIONS_ZH if about_colour else _SHAPE_QUESTIONS_ZH
        answer = COLOURS[picture.colour] if about_colour else SHAPES[picture.shape]
        question = wordings[int(generator.integers(len(wordings)))]
        yield picture.draft("shapes-facts-zh", question, answer)
