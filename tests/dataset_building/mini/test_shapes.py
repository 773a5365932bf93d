import io

import numpy as np
import pytest
from PIL import Image

from m3it_jax.dataset_building.mini import shapes

RGB = {
    "black": (0, 0, 0),
    "blue": (0, 0, 255),
    "brown": (165, 42, 42),
    "gray": (128, 128, 128),
    "green": (0, 255, 0),
    "red": (255, 0, 0),
    "teal": (0, 128, 128),
    "yellow": (255, 255, 0),
}


def take(source, number, split="test"):
    return [draft for draft, _ in zip(source({}, split, 0), range(number), strict=False)]


def seen(data):
    """Returns the colour and the shape that the pixels show."""
    pixels = np.asarray(Image.open(io.BytesIO(data)).convert("RGB")).astype(int)
    far = {name: np.abs(pixels - np.array(rgb)).sum(-1) for name, rgb in RGB.items()}
    colour = max(far, key=lambda name: (far[name] < 30).sum())
    mask = far[colour] < 60
    rows, columns = np.nonzero(mask)
    inside = mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
    half = len(inside) // 2
    if inside[-half:].sum() > 1.5 * inside[:half].sum():
        return colour, "triangle"
    return colour, "rectangle" if inside.mean() > 0.97 else "circle"


def test_captions_say_what_the_pixels_show():
    for draft in take(shapes.captions, 150):
        assert draft.outputs == "a {} {}".format(*seen(draft.images[0]))


def test_chinese_captions_say_the_same():
    for english, chinese in zip(take(shapes.captions, 50), take(shapes.captions_zh, 50), strict=True):
        colour, shape = english.outputs.split()[1:]
        assert chinese.outputs == f"一个{shapes.COLOURS[colour]}的{shapes.SHAPES[shape]}"
        assert chinese.images == english.images


@pytest.mark.parametrize(
    ("questions", "facts"),
    [
        ([("what color is the circle?", "blue")], ("blue", "circle")),
        ([("is there a red shape?", "yes"), ("what shape is present?", "triangle")], ("red", "triangle")),
        ([("is there not a red shape?", "no"), ("is no circle present?", "no")], ("red", "circle")),
        ([("is there a red shape?", "no"), ("what shape is present?", "circle")], None),
        ([("what color is the shape?", "blue")], None),
    ],
)
def test_facts_are_what_questions_and_answers_tell(questions, facts):
    assert shapes._facts(questions) == facts


def test_no_picture_is_in_two_splits():
    groups = [{picture.group for picture in shapes.pictures(split, 0)} for split in ("train", "validation", "test")]
    assert sum(map(len, groups)) == len(set.union(*groups))
    assert all(group.startswith("easy-vqa-test-") for group in groups[2])
    assert not any(group.startswith("easy-vqa-test-") for group in groups[0] | groups[1])


def test_the_right_option_is_among_the_options_once():
    letters = []
    for draft in take(shapes.options, 200):
        assert draft.outputs in draft.options and len(set(draft.options)) == len(draft.options)
        assert draft.inputs.split("\n")[1:] == list(draft.options)
        assert draft.outputs[4:] in seen(draft.images[0])
        letters.append(draft.outputs[1])
    assert set(letters) == set("ABCD")


def test_a_question_of_each_picture_comes_before_a_second_one():
    number = len(shapes.pictures("validation", 0))
    drafts = take(shapes.questions, 2 * number, "validation")
    assert len({draft.group for draft in drafts[:number]}) == number
    pairs = {(draft.group, draft.inputs) for draft in drafts}
    assert len(pairs) == len(drafts)


def test_each_picture_is_asked_for_colour_and_for_shape_in_chinese():
    number = len(shapes.pictures("validation", 0))
    answers = {}
    for draft in take(shapes.facts_zh, 2 * number, "validation"):
        answers.setdefault(draft.group, set()).add(draft.outputs)
        colour, shape = (
            table[name] for table, name in zip((shapes.COLOURS, shapes.SHAPES), seen(draft.images[0]), strict=True)
        )
        assert draft.outputs in (colour, shape)
    assert all(len(found) == 2 for found in answers.values())


def test_another_seed_gives_another_validation_split():
    first, second = ({picture.group for picture in shapes.pictures("validation", seed)} for seed in (0, 1))
    assert first != second
