"""Options by letter, text and likelihood: what counts, and what is refused. The references: test_table.py."""

from typing import Any

import pytest

from m3it_jax import metrics

OPTIONS = [["(A) red", "(B) blue", "(C) blue circle"]]


@pytest.mark.parametrize("target", ["(B) blue", "B. blue", "B) blue", "B", "(B)", " (B) "])
def test_targets_may_be_written_in_several_ways(target: str) -> None:
    assert metrics.multiple_choice_letter([[target]], ["The answer is B."]) == {"multiple_choice_letter": 100.0}
    assert metrics.multiple_choice_text([[target]], ["Blue!"], options=OPTIONS) == {"multiple_choice_text": 100.0}


def test_options_with_letters_and_without_are_the_same() -> None:
    plain = [["red", "blue", "blue circle"]]
    for prediction, right in (("it is red", 100.0), ("a blue circle", 0.0), ("blue", 0.0)):
        for options in (plain, OPTIONS):
            assert metrics.multiple_choice_text([["red"]], [prediction], options=options) == {
                "multiple_choice_text": right
            }


def test_letters_beyond_the_options_do_not_count() -> None:
    assert metrics.multiple_choice_letter([["A"]], ["A or Z"], options=OPTIONS) == {"multiple_choice_letter": 100.0}
    assert metrics.multiple_choice_letter([["A"]], ["A or Z"]) == {"multiple_choice_letter": 0.0}


def test_equal_likelihoods_choose_the_first() -> None:
    scored = metrics.multiple_choice_likelihood([[0], [1], [1, 0]], [[-1, -1], [-1, -1], [-1, -1]])
    assert scored == {"multiple_choice_likelihood": pytest.approx(200 / 3)}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: metrics.multiple_choice_letter([["blue"]], ["B"]), r"targets\[0\] has 'blue', must begin with"),
        (lambda: metrics.multiple_choice_letter([["B"]], ["B"], options=[]), "options must be a list of lists"),
        (lambda: metrics.multiple_choice_text([["green"]], ["B"], options=OPTIONS), "none of the options"),
        (lambda: metrics.multiple_choice_text([["Q"]], ["B"], options=OPTIONS), "none of the options"),
        (lambda: metrics.multiple_choice_text([["B"]], ["B"], options=[["a", None]]), r"options\[0\]\[1\] is None"),
        (lambda: metrics.multiple_choice_text([["B"]], ["B"], options=[["a"] * 27]), "has 27 options"),
        (lambda: metrics.multiple_choice_likelihood([[2]], [[-1.0, -2.0]]), r"targets\[0\] has 2, must be numbers"),
        (lambda: metrics.multiple_choice_likelihood([["0"]], [[-1.0, -2.0]]), r"targets\[0\] has '0'"),
        (lambda: metrics.multiple_choice_likelihood([[0]], [[-1.0, float("nan")]]), r"predictions\[0\]\[1\] is nan"),
        (lambda: metrics.multiple_choice_likelihood([[0]], [["-1.0"]]), r"predictions\[0\]\[0\] is '-1.0'"),
        (lambda: metrics.multiple_choice_likelihood([[0]], [[]]), r"predictions\[0\] is empty"),
        (lambda: metrics.multiple_choice_likelihood([[0]], [[-1.0]], lengths=[[1, 2]]), "one length for each"),
        (lambda: metrics.multiple_choice_likelihood([[0]], [[-1.0]], lengths=[[0]]), "must be above 0"),
    ],
)
def test_mistakes_are_told_in_one_line(call: Any, message: str) -> None:
    with pytest.raises(metrics.ScoringError, match=message):
        call()
