"""VQA accuracy: agreement, normalisation, and what is refused. The reference: test_table.py."""

import pytest

from m3it_jax import metrics
from m3it_jax.metrics import vqa


@pytest.mark.parametrize(("agree", "value"), [(0, 0), (1, 30), (2, 60), (3, 90), (4, 100), (10, 100)])
def test_three_people_are_enough_and_each_is_left_out_once(agree: int, value: float) -> None:
    answers = ["yes"] * agree + ["no"] * (10 - agree)
    assert metrics.vqa_accuracy([answers], ["Yes"])["vqa_accuracy"] == pytest.approx(value)


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("The Dog.", "dog"),
        ("two dogs", "2 dogs"),
        ("dont", "don't"),
        ("red/blue", "red blue"),
        ("red / blue", "red blue"),
        ("1,000", "1000"),
        ("3.5", "3.5"),
        ("a \n an\tthe", ""),
        ("蓝色。", "蓝色。"),
        ("." * 40, "." * 8),  # the challenge takes 32 periods away and no more
    ],
)
def test_normalised(text: str, wanted: str) -> None:
    assert vqa.normalised(text) == wanted


def test_one_answer_is_refused() -> None:
    with pytest.raises(metrics.ScoringError, match=r"targets\[0\] has 1 answer, must hold those of several people"):
        metrics.vqa_accuracy([["yes"]], ["yes"])
