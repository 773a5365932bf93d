import json
import pathlib

import built_folder
import pytest

from m3it_jax import errors, records
from m3it_jax.cli import main
from m3it_jax.dataset_building.rewriting import review
from m3it_jax.dataset_building.writing import rejections

SHARED = built_folder.picture(99)


@pytest.fixture(scope="module")
def folder(build_folder, tmp_path_factory) -> records.DataFolder:
    row = built_folder.row
    pictures = [(built_folder.picture(number),) for number in range(8)]
    train = [row("toys", "q" * number, f"answer {number}", images=pictures[number]) for number in range(1, 5)]
    train.append(row("toys", "sorry?", "Sorry, I cannot tell."))
    train.append(row("toys", "which?", "lamp", meta={"options": ["cat"]}))
    train.append(row("toys", "same picture", "yes", images=(SHARED,)))
    test = [row("toys", "held out", "no", images=(SHARED,))]
    other = [row("more", "elsewhere", "two", images=(SHARED,)), row("more", "else", "one", images=pictures[7])]
    out = build_folder(
        tmp_path_factory.mktemp("review") / "data",
        {"toys": {"train": train, "test": test}, "more": {"train": other}},
    )
    return records.DataFolder.open(out)


def test_the_report_tells_faults_quarantine_and_overlaps(folder):
    told = review.report(folder, lambda: None)
    toys = told["sources"]["toys"]
    assert toys["faults"] == {"train": {review.TWO_SPLITS: 1}}
    assert toys["left_out"] == {"apology": 1, "answer-not-an-option": 1}
    assert [line["outputs"] for line in toys["quarantine"]] == ["Sorry, I cannot tell.", "lamp"]
    assert told["overlaps"] == [{"train": "more", "held_out": "toys", "pictures": 1}]


def test_a_clean_copy_sets_aside_and_takes_back_what_was_reviewed(folder, tmp_path, capsys):
    held = {line["reason"]: line["id"] for line, _ in rejections.read(folder.source_path("toys"))}
    reviewed = tmp_path / "reviewed.jsonl"
    lines = [{"id": held["apology"], "outputs": "It is a cup."}, {"id": held["answer-not-an-option"]}]
    reviewed.write_text("\n".join(map(json.dumps, lines)) + "\n")
    out = tmp_path / "out"
    words = ["quality", str(folder.path), "--out", str(out), "--admit", str(reviewed), "--jobs", "1"]
    assert main.main(words) == 0
    assert main.main(["check", str(out)]) == 0 and main.main(["quality", str(out)]) == 0
    table = records.DataFolder.open(out).table("toys", "train")
    found = {record.inputs: record for record in map(table.read, range(len(table)))}
    assert set(found) == {"q", "qq", "qqq", "qqqq", "sorry?", "which?"}
    assert found["sorry?"].outputs == "It is a cup." and found["sorry?"].meta["admitted"] == ["apology"]
    assert found["which?"].meta["admitted"] == ["answer-not-an-option"]
    rows = list(rejections.read(out / "toys/1.0.0"))
    assert [(line["reason"], record.inputs) for line, record in rows] == [(review.TWO_SPLITS, "same picture")]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("[1]", ":1: must be an object"),
        ("{", ":1: is no JSON"),
        ('{"id": "a", "task": "x"}', "'task' must be one of"),
        ('{"id": "a"}\n{"id": "a"}', ":2: a stands there twice"),
        ('{"id": 3}', "must be an object of texts"),
    ],
)
def test_a_wrong_review_is_told(tmp_path, text, words):
    (tmp_path / "r.jsonl").write_text(text)
    with pytest.raises(errors.UserError, match=words):
        review.read_review(tmp_path / "r.jsonl")


def test_an_id_that_is_not_in_quarantine_is_told(folder, tmp_path):
    with pytest.raises(errors.UserError, match="toys-0 is not in quarantine"):
        review.order(folder, tmp_path / "out", {"toys-0": {}})
    with pytest.raises(errors.UserError, match="cannot be read"):
        review.read_review(pathlib.Path("/none"))
