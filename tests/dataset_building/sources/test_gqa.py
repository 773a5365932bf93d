import json
import shutil

import pytest

from m3it_jax import errors
from m3it_jax.dataset_building import sources


def test_the_short_answer_is_the_output_and_the_sentence_a_reference(instances, raw):
    first, second = instances("gqa", "train")
    assert (first.inputs, first.outputs) == ("What is to the right of the blue box?", "ball")
    assert first.meta["references"] == ["ball", "The ball is to the right of the box."]
    assert first.images == second.images == ((raw / "gqa/images/2001.jpg").read_bytes(),)
    assert (first.meta["origin"], first.meta["origin_split"]) == ("02001001", "train")


def test_val_is_validation(instances, drafts):
    (record,) = instances("gqa", "validation")
    assert (record.outputs, record.meta["group"], record.meta["origin_split"]) == ("yellow", "n200201.jpg", "val")
    assert drafts("gqa", "test") == []


def test_questions_are_drawn_by_seed(drafts, monkeypatch):
    monkeypatch.setitem(sources.load("gqa").published.counts, "train", 1)
    drawn = [tuple(draft.origin for draft in drafts("gqa", "train", seed=seed)) for seed in range(20)]
    assert {len(origins) for origins in drawn} == {1} and len(set(drawn)) == 2


def test_damaged_rows_are_named_and_a_damaged_file_is_told(drafts, raw, tmp_path):
    shutil.copytree(raw / "gqa", tmp_path / "gqa")
    file = tmp_path / "gqa" / "train_balanced_questions.json"
    rows = json.loads(file.read_text())
    rows["02001001"]["answer"] = 3
    file.write_text(json.dumps(rows))
    bad, good = drafts("gqa", "train", raw=tmp_path)
    assert (bad.place, bad.reason) == ("train_balanced_questions.json: 02001001", "wrong-type")
    assert good.origin == "02001002"
    file.write_text(file.read_text()[:-40])
    with pytest.raises(errors.UserError, match="train_balanced_questions.json: cannot be read"):
        drafts("gqa", "train", raw=tmp_path)
