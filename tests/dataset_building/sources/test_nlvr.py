import dataclasses
import shutil

from m3it_jax.dataset_building.sources import nlvr


def test_each_order_of_the_boxes_is_a_record_of_one_group(instances, raw) -> None:
    records = instances("nlvr", "train")
    assert [record.meta["origin"] for record in records] == [f"train-3061-0-{number}" for number in range(6)]
    assert {record.meta["group"] for record in records} == {"nlvr-train-3061-0"}
    assert {record.inputs for record in records} == {"There is a box with a yellow item and a blue item."}
    assert {record.outputs for record in records} == {"The answer is true."}
    assert records[4].images == ((raw / "nlvr/train/images/7/train-3061-0-4.png").read_bytes(),)


def test_validation_is_dev_and_there_is_no_test_split(instances) -> None:
    assert {record.outputs for record in instances("nlvr", "validation")} == {"The answer is false."}
    assert instances("nlvr", "test") == []


def test_the_paper_count_is_drawn(drafts, monkeypatch) -> None:
    known = dataclasses.replace(nlvr.SPEC.published, counts={"train": 2, "validation": 2, "test": 0})
    monkeypatch.setattr(nlvr, "SPEC", dataclasses.replace(nlvr.SPEC, published=known))
    found = {tuple(row.origin for row in drafts("nlvr", "train", seed=seed)) for seed in range(9)}
    assert {len(pair) for pair in found} == {2} and len(found) > 3


def test_damaged_rows_are_named(drafts, raw, tmp_path) -> None:
    folder = shutil.copytree(raw / "nlvr", tmp_path / "nlvr")
    (folder / "dev/dev.json").write_text('{"sentence": "\n[1]\n{"identifier": "1-0", "label": true}\n')
    found = [(row.place, row.reason) for row in drafts("nlvr", "validation", raw=tmp_path)]
    assert found[:2] == [("dev/dev.json:1", "not-json"), ("dev/dev.json:2", "wrong-type")]
    assert found[2:] == [("dev/dev.json:3", "wrong-type")] * 6
