"""What is said of two pictures beside one text: of a model that does not look, and of one that sees more."""

import numpy as np
import pytest

from m3it_jax.checkpoint_conversion.certificate import findings, sight
from m3it_jax.checkpoint_conversion.certificate.comparison import NO_NUMBER, Scores, largest
from m3it_jax.checkpoint_conversion.certificate.plain.placeholders import Placeholders

FIRST, SECOND = np.array([[9.0, 9.0], [1.0, 4.0]]), np.array([[8.0, 0.0], [1.5, -4.0]])


def seen(problems=(), left_out=""):
    return sight.Look(Placeholders("<image>", 7, 4), 7, problems, left_out)


def judged(look, first=(FIRST, FIRST), second=(SECOND, SECOND)):
    return sight.judge(look, first=Scores(*first), second=Scores(*second))


def test_two_pictures_that_both_sides_tell_apart_are_well():
    found = judged(seen())
    assert found["ok"] and found["problems"] == [] and found["placeholder"] == {}
    assert (found["between_pictures"], found["between_pictures_ours"]) == (8.0, 8.0)  # where an answer begins
    assert (found["max_abs_diff"], found["scale"], found["token_id"], found["count"]) == (0.0, 8.0, 7, 4)
    assert judged(seen(left_out="why"))["placeholder"] == {"left_out": "why"}
    assert not judged(seen(problems=("two ids",)))["ok"]


def test_a_model_that_is_blind_where_ours_sees_is_told():
    found = judged(seen(), first=(SECOND, FIRST))
    assert not found["ok"] and "changes HF_DIR's scores by 0.0e+00, and CHECKPOINT's by 8.0e+00" in found["problems"][0]


@pytest.mark.parametrize(("times", "ok"), [(0.9, True), (1.1, False)])
def test_scores_may_differ_by_the_tolerance_times_the_largest(times: float, ok: bool):
    found = judged(seen(), second=(SECOND, SECOND + times * findings.LOGITS * 8.0))
    assert found["ok"] is ok


def test_the_largest_is_that_of_absolute_values():
    assert largest(np.array([1.0, -3.0, 2.0])) == 3.0
    assert largest(np.array([1.0, np.nan])) == largest(np.array([-np.inf])) == NO_NUMBER


@pytest.mark.parametrize(
    ("look", "wanted"),
    [
        (seen(), [7, 7, 0, 5]),
        (sight.Look(Placeholders("<image>", None, 4), 7, (), ""), [-1, -1, 0, 5]),
        (sight.Look(Placeholders("<image>", 7, 4), None, (), ""), [-1, -1, 0, 5]),
    ],
)
def test_a_row_is_given_as_the_processor_writes_it(look, wanted):
    assert look.given([-1, -1, 0, 5]) == wanted
