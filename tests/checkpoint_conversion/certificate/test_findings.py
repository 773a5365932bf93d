"""What is allowed at the end of both models."""

import numpy as np
import pytest

from m3it_jax.checkpoint_conversion.certificate import findings
from m3it_jax.checkpoint_conversion.certificate.comparison import Scores
from m3it_jax.checkpoint_conversion.certificate.whole_program import Answer

SCORES = np.array([[9.0, 0.0, 0.0, 0.0], [0.0, 5.0, 4.0, 8.0], [1.0, 2.0, 3.0, 0.0]])


def _judged(new_ids, num_ids=3, reference=SCORES):
    answer = Answer(row=[5], text="", new_ids=new_ids, num_ids=num_ids, output="")
    return findings.judge_answer(Scores(reference, reference), answer)


def test_greedy_tokens_must_be_the_references_likeliest():
    assert _judged([1, 2])["ok"]  # the last positions, and of the ids that the tokenizer has
    told = _judged([1, 1])
    assert not told["ok"]
    assert told["differences"] == [{"position": 1, "checkpoint": 1, "hf_dir": 2, "margin": 1.0}]
    assert not _judged([1, 2], num_ids=4)["ok"]


def test_a_tie_within_the_tolerance_is_equal():
    close = SCORES.copy()
    close[2, 1] = 3.0 - 2e-4
    told = _judged([1, 1], reference=close)
    assert told["ok"] and told["differences"][0]["margin"] == pytest.approx(2e-4)


@pytest.mark.parametrize(("change", "ok"), [(5e-5, True), (8e-4, True), (1e-3, False), (np.nan, False)])
def test_scores_may_differ_by_the_tolerance_times_their_size(change, ok):
    ours = SCORES.copy()
    ours[0, 1] += change
    told = findings.judge_scores(Scores(SCORES, ours))
    assert told["ok"] == ok and told["scale"] == 9.0 and np.isfinite(told["max_abs_diff"])


def test_each_problem_is_one_line_and_the_cause_comes_first():
    wrong = {"layer": 3, "max_abs_diff": 2e-4, "scale": 10.0, "added_up": 1.0}
    told = {
        "model": {"differences": {}},
        "tensors": {
            "ok": False,
            "num_unequal": 7,
            "differences": [{"tensor": "a.weight", "hf_dir": "shape (2,)", "checkpoint": "shape (3,)"}],
        },
        "layers": {"vit": [{**wrong, "max_abs_diff": 9e-5}], "decoder": [wrong]},
        "logits": {"ok": False, "max_abs_diff": 0.5, "scale": 10.0},
    }
    assert findings.problems(told) == [
        "tensors: a.weight is shape (2,) in HF_DIR and shape (3,) in CHECKPOINT",
        "tensors: 6 more differ",
        "layers: decoder differs in 1 of 1 states, first in state 3 by 2.0e-04 at values up to 10.0",
        "logits: differ by 5.0e-01 at values up to 10.0",
    ]
