import io
import itertools
from itertools import pairwise

import babel
import numpy as np
import pytest
from PIL import Image

from m3it_jax.dataset_building.media import boxes
from m3it_jax.dataset_building.mini import digits, drawing, pairs, videos
from m3it_jax.dataset_building.steps import pipeline

SPLITS = ("train", "validation", "test")


def take(source, number, split="test"):
    return list(itertools.islice(source({}, split, 0), number))


def centre(picture):
    """Returns the middle (x, y) of everything that is not paper, whose colour the most pixels have."""
    flat = picture.reshape(-1, 3)
    colours, counts = np.unique(flat, axis=0, return_counts=True)
    rows, columns = np.nonzero((picture != colours[counts.argmax()]).any(-1))
    return (columns.min() + columns.max() + 1) / 2, (rows.min() + rows.max() + 1) / 2


def values(draft, split="test"):
    """Returns the digits of a record from its group."""
    table = {digit.group: digit.value for digit in drawing.digits(split, 0)}
    return [table[part] for part in draft.group.split("+")]


def test_no_digit_is_in_two_splits_and_none_is_lost():
    groups = [{digit.group for digit in drawing.digits(split, 0)} for split in SPLITS]
    assert [len(group) for group in groups] == [1287, 150, 360]
    assert len(set.union(*groups)) == 1797


@pytest.mark.parametrize("split", SPLITS)
@pytest.mark.parametrize(
    "source",
    [digits.captions, digits.boxed, pairs.questions, pairs.two_pictures, videos.questions],
    ids=lambda source: source.__name__,
)
def test_a_scene_is_of_the_split_of_its_digits(source, split):
    allowed = {digit.group for digit in drawing.digits(split, 0)}
    for draft in take(source, 20, split):
        assert set(draft.group.split("+")) <= allowed


@pytest.mark.parametrize(
    ("x", "y", "name"),
    [(5, 5, "at the top left"), (32, 5, "at the top"), (32, 32, "in the middle"), (60, 32, "at the right"),
     (60, 60, "at the bottom right")],
)  # fmt: skip
def test_places_have_the_names_of_a_grid(x, y, name):
    assert drawing.place_name(x, y) == name


def test_captions_say_digit_and_place():
    for draft in take(digits.captions, 60):
        (value,) = values(draft)
        x, y = centre(draft.images[0])
        column, row = int(draft.attributes["x_bin"]), int(draft.attributes["y_bin"])
        assert f"a handwritten {value} " in draft.outputs
        assert draft.captions[0] == f"{draft.outputs}, column {column + 1} row {row + 1}"
        # The ink may be narrower than the square that it was drawn into, by a few pixels on one side.
        assert abs(x - (column + 0.5) * 8) < 12 and abs(y - (row + 0.5) * 8) < 12


def test_every_place_occurs():
    places = {draft.outputs.split(" ", 3)[3] for draft in take(digits.captions, 400)}
    assert len(places) == 9


def test_answers_are_right():
    months = babel.Locale("en").months["format"]["wide"]
    for draft in take(digits.questions, 40):
        (value,) = values(draft)
        assert draft.outputs == {"digit": str(value), "digit-parity": "odd" if value % 2 else "even"}[draft.skill]
    for draft in take(digits.questions_zh, 20):
        assert "零一二三四五六七八九".index(draft.outputs) == values(draft)[0]
    for draft in take(digits.months, 20):
        assert draft.outputs == months[values(draft)[0]]


def test_the_boxed_digit_is_asked_for():
    for draft in take(digits.boxed, 40):
        value = values(draft)[0]
        assert draft.outputs in draft.options and draft.outputs.endswith(f" {value}")
        assert draft.captions[0].endswith(f"a red box around the {value}")
        marked = boxes.draw_box(draft.images[0], draft.boxes[0])
        changed = (marked != draft.images[0]).any(-1)
        assert changed.sum() > 80  # the box can be seen


def shrunk(pixels):
    """Returns ink [8, 8] of pixels [side, side, 3]: ink is brighter than paper whatever the colours."""
    brightness = pixels.astype(float).sum(-1)
    edges = np.linspace(0, len(brightness), 9).round().astype(int)
    return np.array([[brightness[a:b, c:d].mean() for c, d in pairwise(edges)] for a, b in pairwise(edges)])


def test_the_ink_inside_the_box_is_that_of_the_digit_asked_for():
    """Its own drawing, and not that of another digit of the picture, is found inside the box, which is drawn around."""
    table = {digit.group: digit for digit in drawing.digits("test", 0)}
    beside = set()
    for draft in take(digits.boxed, 40):
        drawn = [table[part] for part in draft.group.split("+")]
        (left, top, right, bottom) = draft.boxes[0]
        assert 0 <= left < right <= drawing.SIDE and 0 <= top < bottom <= drawing.SIDE and right - left == bottom - top
        inside = shrunk(draft.images[0][top + 2 : bottom - 2, left + 2 : right - 2])
        alike = [np.corrcoef(inside.flatten(), digit.ink.flatten())[0, 1] for digit in drawn]
        assert max(alike) == alike[0] > 0.85, (draft.group, alike)
        beside.add((left < drawing.SIDE / 2) - (top < drawing.SIDE / 2))
        paper = draft.images[0][[top, top, bottom - 1, bottom - 1], [left, right - 1, left, right - 1]]
        assert (paper == paper[0]).all()  # the line covers no ink
        marked, _ = pipeline.encoded(draft, lambda frames: frames)
        seen = np.asarray(Image.open(io.BytesIO(marked[0])))
        np.testing.assert_array_equal(seen[top, left:right], [boxes.RED] * (right - left))
        np.testing.assert_array_equal(seen[top:bottom, left], [boxes.RED] * (bottom - top))
        inner = (slice(top + 2, bottom - 2), slice(left + 2, right - 2))
        np.testing.assert_array_equal(seen[inner], draft.images[0][inner])
    assert beside == {-1, 0, 1}  # boxes off the diagonal too, where x and y differ


SPOKEN = "a 0, a 1, a 2, a 3, a 4, a 5, a 6, a 7, an 8, a 9".split(", ")


def test_a_dialogue_asks_for_what_was_not_said_and_both_turns_are_true():
    asked, seen_there = set(), 0
    for draft in take(digits.dialogues, 100):
        (value,) = values(draft)
        place = draft.captions[0].removeprefix(f"a handwritten {value} ").rsplit(", column", 1)[0]
        seen_there += place == drawing.place_name(*centre(draft.images[0]))
        parity, larger = ("even", "odd")[value % 2], "yes" if value >= 5 else "no"
        facts = {
            "which digit is it?": (str(value), f"it is {SPOKEN[value]}."),
            "where is it?": (place, f"the {value} is {place}."),
            "is it even or odd?": (parity, f"the {value} is {parity}."),
            "is it larger than 4?": (larger, f"{larger}, it is {SPOKEN[value]}."),
        }
        past, now = draft.inputs.split("\n")
        question = next(question for question in facts if past.startswith(question))
        assert past == f"{question} {facts[question][0]}"
        assert now != question and draft.outputs == facts[now][1]
        asked |= {(question, now)}
    assert len(asked) == 12  # each pair of questions
    assert seen_there > 75  # but for ink that is narrower than its square


@pytest.mark.parametrize("skill", ["pair-left", "pair-right", "pair-sum", "pair-larger"])
def test_pairs_are_answered_right(skill):
    drafts = [draft for draft in take(pairs.questions, 120) if draft.skill == skill]
    assert len(drafts) >= 20
    for draft in drafts:
        left, right = values(draft)
        side = "equal" if left == right else ("left" if left > right else "right")
        answers = {"pair-left": left, "pair-right": right, "pair-sum": left + right, "pair-larger": side}
        assert draft.outputs == str(answers[skill])
        assert draft.captions == (f"{drawing.spoken(left)} left of {drawing.spoken(right)}",)


def test_the_two_digits_do_not_touch():
    for draft in take(pairs.captions, 40):
        paper = draft.images[0][:, [0, 31, 32, 63]]
        assert paper.shape == (64, 4, 3)
        left, right = draft.images[0][:, :32], draft.images[0][:, 32:]
        assert centre(left)[0] < 32 and centre(right)[0] < 32


def test_two_pictures_are_compared_right():
    for draft in take(pairs.two_pictures, 60):
        first, second = values(draft)
        larger = "same" if first == second else ("first" if first > second else "second")
        assert len(draft.images) == len(draft.captions) == 2
        assert draft.outputs == (str(first + second) if draft.skill == "two-sum" else larger)


def test_a_video_moves_the_way_it_says():
    ways = {"left": (-1, 0), "right": (1, 0), "up": (0, -1), "down": (0, 1)}
    found = set()
    for draft in take(videos.captions, 40):
        x0, y0 = centre(draft.images[0])
        x1, y1 = centre(draft.images[-1])
        direction = draft.outputs.split()[-1]
        assert (np.sign(x1 - x0), np.sign(y1 - y0)) == ways[direction]
        assert 21 <= max(abs(x1 - x0), abs(y1 - y0)) <= 35
        assert len(draft.images) == 8
        assert len({caption.split(" at ")[1] for caption in draft.captions}) >= 3
        found.add(direction)
    assert found == set(ways)


def test_the_three_video_sources_show_the_same_clips():
    directions = {way: chinese for way, (_, _, chinese) in videos.DIRECTIONS.items()}
    english, chinese = take(videos.questions, 20), take(videos.questions_zh, 10)
    for number in range(10):
        asked, digit, zh = english[2 * number], english[2 * number + 1], chinese[number]
        assert asked.images is digit.images is zh.images
        assert zh.outputs == directions[asked.outputs]
        assert digit.outputs == str(values(digit)[0])
