"""Every metric against the numbers of its published scorer (tests/golden/metrics), and as sums and counts."""

import json
import pathlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from m3it_jax import metrics
from m3it_jax.metrics import table

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "metrics"

# Numbers that both sides compute by the same formula in another order.
CLOSE = {"rtol": 1e-12, "atol": 1e-12}


def golden(name: str) -> dict[str, Any]:
    return json.loads((GOLDEN / f"{name}.json").read_text(encoding="utf-8"))


TEXTS = golden("texts")
TARGETS, PREDICTIONS = TEXTS["targets"], TEXTS["predictions"]

# metric -> what its reference's number has to be multiplied by to be in our range
ROWS = {"rouge_l_latin": 100.0, "cider": 1.0, "anls": 1.0, "exact_match_normalised": 100.0}


def test_there_are_enough_stored_cases() -> None:
    counts = {path.stem: len(golden(path.stem).get("rows", PREDICTIONS)) for path in GOLDEN.glob("*.json")}
    assert min(counts.values()) >= 200 and len(counts) >= 14, counts


@pytest.mark.parametrize("name", ROWS)
def test_each_row_equals_the_reference(name: str) -> None:
    rows = table.METRICS[name].rows(TARGETS, PREDICTIONS)
    np.testing.assert_allclose(rows[:, 0], np.array(golden(name)["rows"], float) * ROWS[name], **CLOSE)
    assert (rows[:, 1] == 1).all()


def test_cider_of_the_corpus() -> None:
    assert metrics.cider(TARGETS, PREDICTIONS) == {"CIDEr": pytest.approx(golden("cider")["value"], rel=1e-12)}


@pytest.mark.parametrize("name", ["bleu", "chrf"])
def test_corpus_scores_equal_sacrebleu(name: str) -> None:
    found, metric = golden(name), table.METRICS[name]
    assert metric(TARGETS, PREDICTIONS)[name] == pytest.approx(found["value"], rel=1e-12)
    # Each row as a corpus of its own.
    np.testing.assert_allclose(metric.values(metric.rows(TARGETS, PREDICTIONS))[name], found["rows"], **CLOSE)


def test_bleu_of_captions_equals_pycocoevalcap() -> None:
    found, metric, names = golden("bleu_caption"), table.METRICS["bleu"], [f"Bleu_{order}" for order in (1, 2, 3, 4)]
    value = metric(TARGETS, PREDICTIONS)
    np.testing.assert_allclose([value[name] for name in names], found["value"], **CLOSE)
    rows = metric.values(metric.rows(TARGETS, PREDICTIONS))
    np.testing.assert_allclose(np.stack([rows[name] for name in names], -1), found["rows"], **CLOSE)


def test_vqa_accuracy_equals_the_reference() -> None:
    found = golden("vqa_accuracy")
    rows = table.METRICS["vqa_accuracy"].rows(found["targets"], found["predictions"])
    np.testing.assert_allclose(rows[:, 0], 100 * np.array(found["rows"]), **CLOSE)


def test_multiple_choice_equals_the_reference() -> None:
    rows = golden("multiple_choice")["rows"]
    for row in rows:
        right = [[f"({'ABCDE'[row['right']]}) {row['options'][row['right']]}"]]
        options = {"options": [row["options"]]}
        letter = metrics.multiple_choice_letter(right, [row["prediction"]], **options)["multiple_choice_letter"]
        text = metrics.multiple_choice_text(right, [row["prediction"]], **options)["multiple_choice_text"]
        assert (letter, text) == (100 * row["letter"], 100 * row["text"]), row
    assert 50 < sum(row["letter"] for row in rows) < 190 and 50 < sum(row["text"] for row in rows) < 190


def test_likelihood_equals_the_reference() -> None:
    rows = golden("multiple_choice_likelihood")["rows"]
    right, values = [[row["right"]] for row in rows], [row["values"] for row in rows]
    plain = metrics.multiple_choice_likelihood(right, values)["multiple_choice_likelihood"]
    assert plain == pytest.approx(100 * np.mean([row["acc"] for row in rows]))
    by_length = metrics.multiple_choice_likelihood(right, values, lengths=[row["lengths"] for row in rows])
    assert by_length["multiple_choice_likelihood"] == pytest.approx(100 * np.mean([row["acc_norm"] for row in rows]))


def test_winoground_equals_the_reference() -> None:
    found = golden("winoground")
    rows = table.METRICS["winoground"].rows([[""]] * len(found["scores"]), found["scores"])
    np.testing.assert_array_equal(rows[:, :3], found["rows"])


def test_language_equals_the_reference() -> None:
    rows = golden("language_match")["rows"]
    found = table.METRICS["language_match"].rows([[row["tag"]] for row in rows], [row["prediction"] for row in rows])
    np.testing.assert_array_equal(found[:, 0] == 100, [row["tag"] == row["language"] for row in rows])


NUMBERS = {"multiple_choice_likelihood", "winoground"}  # their predictions are no texts
LABELS = {"language_match", "multiple_choice_letter"}  # their targets are of a fixed form


@pytest.mark.parametrize("name", sorted(set(table.METRICS) - NUMBERS - LABELS))
def test_sums_of_parts_give_the_value_of_the_whole(name: str) -> None:
    metric = table.METRICS[name]
    targets, predictions = [[*row, "one more"] for row in TARGETS], PREDICTIONS
    whole = metric(targets, predictions)
    if name.startswith("cider"):  # rareness is counted over all rows; what is added up are parts of its result
        rows = metric.rows(targets, predictions)
        summed = rows[:100].sum(0) + rows[100:].sum(0)
    else:
        summed = sum(metric.rows(targets[part], predictions[part]).sum(0) for part in (slice(100), slice(100, None)))
    assert {key: float(value) for key, value in metric.values(summed).items()} == pytest.approx(whole)


@pytest.mark.parametrize("name", sorted(set(table.METRICS) - NUMBERS - LABELS))
def test_the_function_gives_what_the_sums_give(name: str) -> None:
    """Users call the function, a run of evaluation the table."""
    metric, targets = table.METRICS[name], [[*row, "one more"] for row in TARGETS]
    option = {"cider_captions": metrics.caption_words, "cider_words": metrics.words}.get(name)
    found = (
        metrics.cider(targets, PREDICTIONS, tokenize=option) if option else getattr(metrics, name)(targets, PREDICTIONS)
    )
    assert all(type(value) is float for value in found.values())
    assert found == pytest.approx({key: float(value) for key, value in metric(targets, PREDICTIONS).items()})


def test_portions_of_rows_do_not_show(monkeypatch) -> None:
    whole = table.METRICS["chrf"].rows(TARGETS, PREDICTIONS)
    for number in (1, 7, len(PREDICTIONS) - 1, len(PREDICTIONS)):
        monkeypatch.setattr(sys.modules["m3it_jax.metrics.chrf"], "_CHUNK", number)
        np.testing.assert_array_equal(table.METRICS["chrf"].rows(TARGETS, PREDICTIONS), whole)


def test_values_of_many_sums_at_once() -> None:
    for name in ("bleu", "chrf", "rouge_l"):
        metric = table.METRICS[name]
        rows = metric.rows(TARGETS, PREDICTIONS)
        resamples = np.random.default_rng(0).multinomial(len(rows), np.full(len(rows), 1 / len(rows)), size=(2, 3))
        for key, values in metric.values(resamples @ rows).items():
            assert values.shape == (2, 3)
            assert values[1, 2] == pytest.approx(float(metric.values(resamples[1, 2] @ rows)[key]))


def test_every_public_metric_is_in_the_table() -> None:
    others = ("METRICS", "ScoringError", "words", "caption_words", "identified_languages")
    functions = {name for name in metrics.__all__ if name not in others}
    assert functions - set(table.METRICS) == {"multiple_choice_text"}, "it needs the options beside the targets"


def test_importing_the_metrics_stays_light() -> None:
    code = "import sys, m3it_jax.metrics; print(sorted({name.split('.')[0] for name in sys.modules}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    heavy = {"jax", "jaxlib", "tensorflow", "flax", "scipy", "rapidfuzz", "py3langid", "sklearn", "PIL", "pandas"}
    assert not heavy & set(eval(done.stdout))


def test_the_greatest_value_is_100_but_for_cider_and_anls() -> None:
    tops = {name: metric.top for name, metric in table.METRICS.items()}
    others = {"anls": 1.0} | {name: 10.0 for name in tops if name.startswith("cider")}
    assert tops == dict.fromkeys(tops, 100.0) | others
    for name in sorted(set(table.METRICS) - NUMBERS - LABELS - {"vqa_accuracy"}):
        ours = table.METRICS[name]([["a red cat on a mat"], ["two dogs"]], ["a red cat on a mat", "blue"])
        assert 0.0 < max(ours.values()) <= tops[name], name
