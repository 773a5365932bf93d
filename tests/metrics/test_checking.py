"""Targets and predictions that cannot be scored: one line that names the place, for every metric."""

from typing import Any

import numpy as np
import pytest

from m3it_jax import errors, metrics

TEXT_METRICS = [
    metrics.rouge_l,
    metrics.rouge_l_latin,
    metrics.cider,
    metrics.bleu,
    metrics.chrf,
    metrics.vqa_accuracy,
    metrics.anls,
    metrics.exact_match,
    metrics.exact_match_normalised,
    metrics.multiple_choice,
    metrics.multiple_choice_letter,
    metrics.language_match,
]

BAD = [
    ([["a"]], [], "1 lists of targets for 0 predictions"),
    ([], [], "no prediction to score"),
    ([["a"], []], ["a", "b"], r"targets\[1\] is empty"),
    ([["a"], "b"], ["a", "b"], r"targets\[1\] is one text, must be a list"),
    ([["a"], None], ["a", "b"], r"targets\[1\] is None \(NoneType\), must be a list"),
    ([["a"], ["b", 3]], ["a", "b"], r"targets\[1\]\[1\] is 3 \(int\), must be text"),
    ([["a"], ["b"]], ["a", float("nan")], r"predictions\[1\] is nan \(float\), must be text"),
    ([["a"], ["b"]], ["a", None], r"predictions\[1\] is None \(NoneType\), must be text"),
    ([["a"], ["b"]], ["a", ["b"]], r"predictions\[1\] is \['b'\] \(list\), must be text"),
    ([["a"], ["b"]], ["a", b"b"], r"predictions\[1\] is b'b' \(bytes\), must be text"),
    ([["a"], ["b"]], ["a", "x \ud83d"], r"predictions\[1\] has half of a surrogate pair, '\\ud83d' at character 2"),
    ([["a"], ["b", "\udc80"]], ["a", "b"], r"targets\[1\]\[1\] has half of a surrogate pair"),
    ("ab", ["a", "b"], r"targets is 'ab' \(str\), must be a list"),
    ([["a"]], "a", r"predictions is 'a' \(str\), must be a list"),
    (None, ["a"], r"targets is None \(NoneType\), must be a list"),
    ([["a"]], {"0": "a"}, r"predictions is \{'0': 'a'\} \(dict\), must be a list"),
    ([["a"]], iter("a"), r"predictions is <.* \(.*iterator\), must be a list"),
]


@pytest.mark.parametrize("metric", TEXT_METRICS, ids=lambda metric: metric.__name__)
@pytest.mark.parametrize(("targets", "predictions", "message"), BAD)
def test_every_metric_refuses_in_one_line(metric: Any, targets: Any, predictions: Any, message: str) -> None:
    with pytest.raises(metrics.ScoringError, match=message) as caught:
        metric(targets, predictions)
    assert isinstance(caught.value, errors.UserError) and isinstance(caught.value, ValueError)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_tuples_and_arrays_of_texts_are_taken() -> None:
    targets, predictions = (("a b",), np.array(["c", "d"])), np.array(["a b", "d"])
    assert metrics.exact_match(targets, predictions) == {"exact_match": 100.0}
    assert metrics.rouge_l(targets, predictions) == {"rougeL": 100.0}
    assert metrics.cider(targets, predictions)["CIDEr"] > 0


def test_long_values_are_cut_in_the_message() -> None:
    with pytest.raises(metrics.ScoringError) as caught:
        metrics.bleu([["a"]], [list(range(1000))])
    assert len(str(caught.value)) < 200
