import dataclasses
import json
import shutil

import pytest

from m3it_jax import errors
from m3it_jax.dataset_building.sources import ss


def test_ten_labels_are_offered_and_the_template_without_brackets_is_right(instances, raw):
    record = next(record for record in instances("ss", "train") if record.meta["group"] == "4001")
    lines = record.inputs.split("\n")
    options = record.meta["options"]
    assert lines[0] == "Options:" and len(options) == len(set(options)) == 10
    assert lines[1:] == [f"({letter}) {option}" for letter, option in zip("ABCDEFGHIJ", options, strict=True)]
    assert set(options) <= set(json.loads((raw / "ss" / "labels" / "labels.json").read_text()))
    assert record.outputs in lines and record.outputs[4:] == "Pushing something from left to right"
    assert len(record.images) == 8


def test_the_right_label_stands_at_any_place(drafts):
    assert len({drafts("ss", "train", seed=seed)[0].outputs[:3] for seed in range(40)}) == 10


def test_test_labels_come_from_the_file_of_answers(instances):
    (record,) = instances("ss", "test")
    assert record.meta["origin"] == "4004" and record.outputs.endswith(" Moving something down")
    assert [record.meta["origin"] for record in instances("ss", "validation")] == ["4003"]


def test_the_sample_has_the_papers_number(drafts, monkeypatch):
    few = dataclasses.replace(ss.SPEC.published, counts={"train": 1})
    monkeypatch.setattr(ss, "SPEC", dataclasses.replace(ss.SPEC, published=few))
    assert {len(drafts("ss", "train", seed=seed)) for seed in range(20)} == {1}
    assert {drafts("ss", "train", seed=seed)[0].group for seed in range(20)} == {"4001", "4002"}


def test_damaged_rows_are_named(drafts, raw, tmp_path):
    shutil.copytree(raw / "ss", tmp_path / "ss")
    rows = [{"id": "1", "template": "Flying [something]"}, {"id": 2, "template": "Holding [something]"}, {"id": "3"}]
    (tmp_path / "ss" / "labels" / "train.json").write_text(json.dumps(rows))
    assert [(row.place, row.reason) for row in drafts("ss", "train", raw=tmp_path)] == [
        ("labels/train.json: [0]", "unknown-class"),
        ("labels/train.json: [1]", "wrong-type"),
        ("labels/train.json: [2]", "missing-field"),
    ]


@pytest.mark.parametrize("labels", ["[]", '{"Holding something": "1"}'])
def test_labels_that_are_no_table_are_refused(drafts, raw, tmp_path, labels):
    shutil.copytree(raw / "ss", tmp_path / "ss")
    (tmp_path / "ss" / "labels" / "labels.json").write_text(labels)
    with pytest.raises(errors.UserError, match="at least 10 labels"):
        drafts("ss", "train", raw=tmp_path)
