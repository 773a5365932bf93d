import io
import json
import shutil

import numpy as np
from PIL import Image


def test_question_hint_and_options_are_the_input(instances, raw) -> None:
    record = instances("science-qa", "train")[0]
    assert record.inputs == (
        "Which property do these objects have in common?\nSelect the better answer.\nOptions:\n(A) hard\n(B) soft"
    )
    assert record.outputs == "(A) hard"
    assert record.images == ((raw / "science-qa/images/train/3041/image.png").read_bytes(),)
    assert "blank_picture" not in record.meta


def test_a_question_without_picture_gets_a_blank_one_and_says_so(instances) -> None:
    record = instances("science-qa", "train")[1]
    assert record.inputs == "Which word is a noun?\nOptions:\n(A) run\n(B) ball\n(C) quickly"
    assert record.meta["blank_picture"] is True
    assert np.unique(np.asarray(Image.open(io.BytesIO(record.images[0])))).tolist() == [255]


def test_splits_are_the_publishers_and_whole(instances) -> None:
    found = {split: [record.meta["origin"] for record in instances("science-qa", split)] for split in _SPLITS}
    assert found == {"train": ["3041", "3042"], "validation": ["3043"], "test": ["3044", "3045"]}


_SPLITS = ("train", "validation", "test")


def test_damaged_rows_are_named(drafts, raw, tmp_path) -> None:
    folder = shutil.copytree(raw / "science-qa", tmp_path / "science-qa")
    problems = json.loads((folder / "problems.json").read_text())
    problems["3041"]["answer"] = 2
    problems["3042"]["choices"] = ["run", 7]
    problems["3043"]["split"] = "trian"
    problems["3044"] = "gone"
    problems["3045"]["split"] = "train"
    problems["3045"]["answer"] = True
    (folder / "problems.json").write_text(json.dumps(problems))
    assert [(row.place, row.reason) for row in drafts("science-qa", "train", raw=tmp_path)] == [
        ("problems.json: 3041", "no-answer"),
        ("problems.json: 3042", "wrong-type"),
        ("problems.json: 3043", "unknown-split"),
        ("problems.json: 3044", "wrong-type"),
        ("problems.json: 3045", "wrong-type"),
    ]
