"""Suites: rows that stand in for the tables', the paper's table, and what is refused."""

import dataclasses

import pytest

from m3it_jax import errors
from m3it_jax.config import EvalRow, EvalSuite
from m3it_jax.evaluation import runner, scores, suites, tasks

SUITE = EvalSuite(
    name="paper",
    rows=(
        EvalRow("okvqa", split="test", metrics=("rouge_l",), table="Table 4", published={"A": 9.1, "B": 23.3}),
        EvalRow("viquae", metrics=("rouge_l",), table="Table 4", published={"A": 9.7}),
        EvalRow("coco"),
    ),
    means={"mean": ("okvqa", "viquae"), "one": ("okvqa",)},
    citation="the paper",
)


def test_a_row_changes_what_it_names_and_keeps_the_rest():
    rows = suites.resolved(SUITE)
    assert (rows["okvqa"].split, rows["okvqa"].metrics) == ("test", ("rouge_l",))
    assert rows["okvqa"].postprocess == "short" and rows["coco"].metrics[0] == "cider_captions"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": ()}, "has no rows"),
        ({"rows": (EvalRow("cocoo"),)}, "'cocoo': must be one of coco,"),
        ({"rows": (EvalRow("coco"), EvalRow("coco"))}, "'coco' stands twice"),
        ({"rows": (EvalRow("coco", metrics=("rouge",)),)}, "metrics='rouge': must be one of"),
        ({"rows": (EvalRow("coco"),)}, "'okvqa' has no row"),
    ],
)
def test_a_suite_that_means_nothing_is_refused(change, message):
    with pytest.raises(errors.ConfigError, match=message):
        suites.resolved(dataclasses.replace(SUITE, **change))


@pytest.fixture
def found(fakes, store):
    store.claim({})
    store.append(
        fakes.prediction(number, "a red car", source="okvqa", skill="okvqa", references=["a red bus"])
        for number in range(40)
    )
    protocol = tasks.Protocol(resamples=50, suite=suites.resolved(SUITE))
    return suites.result(SUITE, scores.score(store, protocol), trained_on=("viquae", "okvqa"))


def test_ours_stands_beside_the_published_figures_and_what_is_missing_says_so(found):
    okvqa, viquae, coco = found["rows"]
    assert (okvqa["n"], okvqa["metric"]) == (40, "rougeL") and okvqa["value"] == pytest.approx(200 / 3)
    assert (okvqa["held_out"], viquae["held_out"]) == (False, True)
    assert (viquae["n"], viquae["value"], viquae["published"]) == (0, None, {"A": 9.7})
    assert found["means"] == {"mean": None, "one": okvqa["value"]}
    text = suites.table(found)
    assert "66.7 [66.7, 66.7] (rougeL, 40)" in text and "23.3" in text
    assert f"mean: {suites.NOT_MEASURED}" in text and f"{suites.NOT_MEASURED}: viquae, coco" in text
    assert "viquae: the model was trained on it" in text and "okvqa: the model" not in text


def test_the_lock_brings_the_suite_back():
    rows = suites.resolved(SUITE)
    assert tasks.suite_of({"suite": tasks.suite_entries(rows)}) == rows
    assert tasks.suite_of({}) == {}
    with pytest.raises(errors.UserError, match="suite is damaged"):
        tasks.suite_of({"suite": [{"name": "coco"}]})


def test_a_suite_asks_its_sources_in_their_splits_with_their_prompt(folder, fakes, store):
    row = tasks.EvalTask(
        "one", "vqa", "zh", ("rouge_l",), split="train", prompt="chinese", references="people", postprocess="short"
    )
    protocol = tasks.Protocol(suite={"one": row})
    table = folder.tables["one", "train"]
    table[0] = dataclasses.replace(table[0], meta={**table[0].meta, "references": ["x", "x", "y"]})
    model = fakes.Reader()
    runner.predict(model, folder, store, identity={"suite": tasks.suite_entries(protocol.suite)}, protocol=protocol)
    rows = store.predictions()
    assert {found["source"] for found in rows} == {"one"} and len(rows) == len(table)
    assert rows[0]["skill"] == "one" and rows[0]["people"] == ["x", "x", "y"]
    assert rows[0]["references"] == ["rare", "x", "y"] and "people" not in rows[1]
    (asked,) = {(r["answer_begin"], r["turns"][0]["outputs"], r["new_pictures"], len(r["turns"])) for r in model.asked}
    assert asked == ("好的。", "好的。", 1, 1)
    with pytest.raises(errors.UserError, match="none of the suite's sources"):
        runner.read_questions(folder, tasks.Protocol(suite={"coco": dataclasses.replace(row, name="coco")}))


def test_the_turn_in_front_leaves_pictures_where_the_record_shows_them(folder, fakes, store):
    row = tasks.EvalTask("two", "reasoning", "zh", prompt="chinese")
    table = folder.tables["two", "test"]
    turns = [{"instruction": "a", "outputs": "b"}, {"instruction": "c", "outputs": "d", "new_pictures": 1}]
    table[0] = dataclasses.replace(table[0], meta={**table[0].meta, "turns": turns})
    question = runner.read_questions(folder, tasks.Protocol(suite={"two": row}))[0]
    shown = [turn.get("new_pictures", 0) for turn in question.before["turns"]]
    assert (shown, question.before["new_pictures"]) == ([0, 1, 1], 0)
