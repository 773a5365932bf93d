"""Paired comparison: what is compared, what is refused, and that its statistics are right."""

import itertools
import json
import pathlib
import random

import numpy as np
import pytest

from m3it_jax import errors, metrics, rng
from m3it_jax.evaluation import comparison, controls, output, tasks

LOCK = {
    "checkpoint": {"step": 1},
    "tokenizer": "t",
    "data": {"fingerprint": "d", "split": "test"},
    "packages": {"jax": "1"},
}
PROTOCOL = tasks.Protocol(resamples=500)


def evaluation(path: pathlib.Path, rows: list[dict], **lock) -> output.EvalFolder:
    path.mkdir(parents=True)
    store = output.EvalFolder(path)
    store.write(output.LOCK, {**LOCK, **lock})
    store.append(rows)
    return store


@pytest.fixture
def compare(tmp_path, fakes):
    """Compares answers given as texts; the right one is 3."""
    number = itertools.count()

    def compare(first: list[str], second: list[str], *, groups=None, metric=None, **protocol):
        stores = []
        for answers in (first, second):
            rows = [
                fakes.prediction(place, text, group=f"g{groups[place] if groups else place}")
                for place, text in enumerate(answers)
            ]
            stores.append(evaluation(tmp_path / str(next(number)), rows))
        return comparison.compare(*stores, protocol=tasks.Protocol(**{"resamples": 500, **protocol}), metric=metric)

    return compare


def test_difference_is_a_less_b_with_its_interval_and_what_could_have_been_found(compare):
    found = compare(["3"] * 90 + ["4"] * 10, ["3"] * 70 + ["4"] * 30)
    assert set(found["tasks"]) == {"digit", "vqa"}
    entry = found["tasks"]["digit"]
    assert (entry["metric"], entry["n"], entry["groups"]) == ("exact_match", 100, 100)
    assert (entry["a"], entry["b"], entry["difference"]) == (90.0, 70.0, pytest.approx(20.0))
    assert 10 < entry["low"] < 20 < entry["high"] < 30 and entry["p"] < 0.001
    # The standard error of a mean of 100 differences, 20 of them 100 and 80 of them 0, is 4.
    assert entry["standard_error"] == pytest.approx(4.0, abs=0.5)
    assert entry["detectable"] == pytest.approx((1.96 + 0.8416) * entry["standard_error"], rel=1e-3)
    assert found["subgroups"]["length"]["1"]["difference"] == found["subgroups"]["language"]["en"]["difference"]


def test_the_same_answers_differ_in_nothing(compare):
    entry = compare(["3", "4"] * 5, ["3", "4"] * 5)["tasks"]["digit"]
    assert (entry["difference"], entry["low"], entry["high"], entry["p"], entry["detectable"]) == (0, 0, 0, 1.0, None)


def test_exchanging_a_and_b_changes_the_sign_alone(compare):
    first, second = ["3"] * 8 + ["4"] * 2, ["4"] * 3 + ["3"] * 7
    one, other = compare(first, second)["tasks"]["digit"], compare(second, first)["tasks"]["digit"]
    assert one["difference"] == -other["difference"] and one["low"] == pytest.approx(-other["high"])
    assert one["p"] == pytest.approx(other["p"], abs=0.02)


def test_p_is_that_of_all_exchanges_of_pictures(compare):
    chance = random.Random(3)
    groups = [place // 3 for place in range(24)]
    first = [chance.choice("334") for _ in groups]
    second = [chance.choice("344") for _ in groups]
    gains = np.zeros(8)
    for group, one, other in zip(groups, first, second, strict=True):
        gains[group] += (one == "3") - (other == "3")
    exact = np.mean([abs(np.dot(signs, gains)) >= abs(gains.sum()) for signs in itertools.product((-1, 1), repeat=8)])
    entry = compare(first, second, groups=groups)["tasks"]["digit"]
    assert entry["groups"] == 8
    assert entry["p"] == pytest.approx(exact, abs=0.015)


def test_rows_of_one_picture_are_no_independent_evidence(compare):
    first, second = ["3"] * 40, ["4"] * 20 + ["3"] * 20
    apart = compare(first, second)["tasks"]["digit"]
    together = compare(first, second, groups=[place // 10 for place in range(40)])["tasks"]["digit"]
    assert together["p"] > 0.1 > apart["p"]
    assert together["high"] - together["low"] > apart["high"] - apart["low"]


def test_under_no_difference_p_is_small_as_seldom_as_it_says(compare):
    chance = random.Random(0)
    values = []
    for _ in range(60):
        answers = [[chance.choice("34") for _ in range(40)] for _ in range(2)]
        values.append(compare(*answers, resamples=10)["tasks"]["digit"]["p"])
    assert np.mean(np.array(values) < 0.1) < 0.25 and np.mean(np.array(values) < 0.5) > 0.25


def test_corpus_scores_are_compared_too(compare):
    first, second = ["3"] * 12, ["3", "3 4"] * 6
    found = compare(first, second, metric="bleu")["tasks"]["digit"]
    targets = [["3"]] * 12
    assert found["metric"] == "bleu"
    assert found["a"] == metrics.bleu(targets, first)["bleu"] and found["b"] == metrics.bleu(targets, second)["bleu"]
    found = compare(first, second, metric="chrf")["tasks"]["digit"]
    assert found["difference"] == pytest.approx(
        metrics.chrf(targets, first)["chrf"] - metrics.chrf(targets, second)["chrf"]
    )
    assert found["low"] <= found["difference"] <= found["high"]


def test_p_is_corrected_for_the_number_of_tasks(tmp_path, fakes):
    rows = [[], []]
    for skill, wrong in (("digit", 8), ("digit-parity", 0), ("shapes-vqa", 6)):
        for place in range(40):
            for side in (0, 1):
                text = "4" if side and place < wrong else "3"
                rows[side].append(fakes.prediction(place, text, skill=skill, source=skill))
    first, second = (evaluation(tmp_path / name, each) for name, each in zip("ab", rows, strict=True))
    entries = comparison.compare(first, second, protocol=PROTOCOL)["tasks"]
    assert list(entries) == ["digit", "digit-parity", "shapes-vqa", "vqa"]
    ordered = sorted(entries.values(), key=lambda entry: entry["p"])
    assert [entry["p_adjusted"] for entry in ordered[:1]] == [pytest.approx(4 * ordered[0]["p"])]
    assert all(entry["p_adjusted"] >= entry["p"] for entry in ordered) and ordered[-1]["p_adjusted"] == 1.0
    adjusted = [entry["p_adjusted"] for entry in ordered]
    assert adjusted == sorted(adjusted)


def test_questions_of_one_side_are_left_out_and_told(tmp_path, fakes):
    rows = [fakes.prediction(place, "3") for place in range(5)]
    control = fakes.prediction(0, "9", variant=controls.BLANK)
    first, second = evaluation(tmp_path / "a", [*rows, control]), evaluation(tmp_path / "b", rows[1:])
    found = comparison.compare(first, second, protocol=PROTOCOL)
    assert found["left_out"] == {"a": 1, "b": 0} and found["tasks"]["digit"]["n"] == 4
    assert "in the other one: 1 of A" in comparison.table(found)
    assert json.loads(json.dumps(found)) == found


def test_models_may_differ_and_nothing_else(tmp_path, fakes):
    rows = [fakes.prediction(place, "3") for place in range(3)]
    first = evaluation(tmp_path / "a", rows)
    other = evaluation(tmp_path / "b", rows, checkpoint={"step": 2}, tokenizer="u")
    assert comparison.compare(first, other, protocol=PROTOCOL)["tasks"]["digit"]["p"] == 1.0
    newer = evaluation(tmp_path / "c", rows, packages={"jax": "2"}, dtype="bfloat16")
    with pytest.raises(errors.UserError, match=r"differ in dtype \(None, bfloat16\)"):
        comparison.compare(first, newer, protocol=PROTOCOL)
    with pytest.raises(errors.UserError, match=r"differ in packages .* give --allow packages"):
        comparison.compare(first, newer, protocol=PROTOCOL, allow=["dtype"])
    assert comparison.compare(first, newer, protocol=PROTOCOL, allow=["dtype", "packages"])["tasks"]
    with pytest.raises(errors.ConfigError, match="--allow dtypes: no field of the locks"):
        comparison.compare(first, newer, protocol=PROTOCOL, allow=["dtypes"])


def test_what_cannot_be_compared_is_told_in_one_line(tmp_path, fakes):
    rows = [fakes.prediction(place, "3") for place in range(3)]
    first = evaluation(tmp_path / "a", rows)
    empty = output.EvalFolder(tmp_path / "empty")
    unlocked = evaluation(tmp_path / "unlocked", rows)
    (unlocked.path / output.LOCK).unlink()
    strange = evaluation(tmp_path / "strange", [fakes.prediction(9, "3")])
    changed = evaluation(tmp_path / "changed", [fakes.prediction(0, "3", references=["5"])])
    for other, message in (
        (empty, "holds no predictions.jsonl"),
        (unlocked, "holds no lock.json"),
        (strange, "no question in common"),
        (changed, "0 of one has another references than in"),
    ):
        with pytest.raises(errors.UserError, match=message):
            comparison.compare(first, other, protocol=PROTOCOL)
    with pytest.raises(errors.ConfigError, match="--metric blue: unknown; use one of anls, bleu"):
        comparison.compare(first, first, protocol=PROTOCOL, metric="blue")


def test_holm_multiplies_the_smallest_by_the_number_of_tasks_and_stops_at_one():
    for values, wanted in (
        ([0.4, 0.01, 0.9], [0.8, 0.03, 0.9]),
        ([0.5, 0.6, 0.7], [1.0, 1.0, 1.0]),
        ([0.01, 0.011, 0.9, 0.02], [0.04, 0.04, 0.9, 0.04]),
    ):
        entries = {str(place): {"p": p} for place, p in enumerate(values)}
        comparison._adjust(entries)
        assert [entry["p_adjusted"] for entry in entries.values()] == pytest.approx(wanted)


def test_p_comes_of_the_exchanges_that_the_seed_draws(compare):
    """So that anybody who has the answers gets the published number again."""
    first, second = ["3"] * 9 + ["4"] * 3, ["4"] * 5 + ["3"] * 5 + ["4"] * 2
    entry = compare(first, second, seed=4)["tasks"]["digit"]
    gains = np.array([100.0 * ((one == "3") - (other == "3")) for one, other in zip(first, second, strict=True)])
    gains = gains[gains != 0]
    kept = rng.generator(4, "compare", "exchange").integers(0, 2, size=(10_000, len(gains)))
    extreme = (np.abs((2 * kept - 1) @ gains) >= abs(gains.sum())).sum()
    assert entry["p"] == (1 + extreme) / 10_001


def test_one_resample_has_no_spread(compare):
    entry = compare(["3"] * 4, ["4"] + ["3"] * 3, resamples=1)["tasks"]["digit"]
    assert (entry["standard_error"], entry["detectable"]) == (0.0, None)
    assert entry["low"] == entry["high"]


def test_of_several_fields_that_differ_the_first_by_its_letters_is_told(tmp_path, fakes):
    rows = [fakes.prediction(0, "3")]
    names = [f"{letter}_field" for letter in "zyxwvutsrqponm"]
    first = evaluation(tmp_path / "a", rows, **dict.fromkeys(names, 1))
    other = evaluation(tmp_path / "b", rows, **dict.fromkeys(names, 2))
    with pytest.raises(errors.UserError, match=r"differ in m_field \(1, 2\)"):
        comparison.compare(first, other, protocol=PROTOCOL)


@pytest.mark.parametrize(("wrong", "told"), [(30, "digit, vqa"), (1, "no task")])
def test_the_table_tells_which_tasks_differ(compare, wrong: int, told: str):
    found = compare(["3"] * 40, ["4"] * wrong + ["3"] * (40 - wrong))
    lines = comparison.table(found).splitlines()
    assert lines[-1] == f"different after Holm's correction (p < 0.05): {told}" and lines[-2] == ""
    assert not any("left out" in line for line in lines)
    assert [line.split()[0] for line in lines if "exact_match" in line] == ["digit", "vqa", "en", "1"]
