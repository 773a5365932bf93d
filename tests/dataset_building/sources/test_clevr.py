import dataclasses
import json
import shutil

from m3it_jax.dataset_building.sources import clevr


def test_the_answer_is_a_sentence(instances, raw) -> None:
    records = instances("clevr", "train")
    assert records[1].inputs == "How many other things are there of the same shape as the tiny cyan matte object?"
    assert [record.outputs for record in records] == ["The answer is yes.", "The answer is 1.", "The answer is brown."]
    assert records[2].meta["answer"] == "brown" and records[2].meta["group"] == "CLEVR_train_003052.png"
    assert records[2].images == ((raw / "clevr/CLEVR_v1.0/images/train/CLEVR_train_003052.png").read_bytes(),)


def test_there_is_no_test_split(instances) -> None:
    assert len(instances("clevr", "validation")) == 2
    assert instances("clevr", "test") == []


def test_the_paper_count_is_drawn(drafts, monkeypatch) -> None:
    known = dataclasses.replace(clevr.SPEC.published, counts={"train": 2, "validation": 2, "test": 0})
    monkeypatch.setattr(clevr, "SPEC", dataclasses.replace(clevr.SPEC, published=known))
    found = {tuple(row.origin for row in drafts("clevr", "train", seed=seed)) for seed in range(12)}
    assert found == {("0", "1"), ("0", "2"), ("1", "2")}


def test_damaged_rows_are_named(drafts, raw, tmp_path) -> None:
    folder = shutil.copytree(raw / "clevr", tmp_path / "clevr")
    file = folder / "CLEVR_v1.0/questions/CLEVR_val_questions.json"
    text = json.loads(file.read_text())
    del text["questions"][0]["answer"]
    text["questions"][1] = None
    file.write_text(json.dumps(text))
    name = "CLEVR_v1.0/questions/CLEVR_val_questions.json"
    assert [(row.place, row.reason) for row in drafts("clevr", "validation", raw=tmp_path)] == [
        (f"{name}: questions[0]", "missing-field"),
        (f"{name}: questions[1]", "wrong-type"),
    ]
