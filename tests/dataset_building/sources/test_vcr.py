import io
import json
import shutil

import numpy as np
import pytest
from PIL import Image

from m3it_jax.dataset_building.media import boxes

_STEM = "vcr/vcr1images/lsmdc_3091_BALL/3091_BALL_00.00.00.000-00.00.09.000@0"


def test_whoever_is_named_has_a_box_and_is_called_by_its_colour(instances) -> None:
    record = instances("vcr", "train")[0]
    assert record.inputs == (
        "Why is the person in the green box looking at the bottle in the blue box?\n"
        "Options:\n"
        "(A) The person in the green box wants to drink.\n"
        "(B) The person in the red box and the person in the green box are asleep.\n"
        "(C) It is the person in the red box's.\n"
        "(D) He doesn't know."
    )
    assert record.outputs == "(A) The person in the green box wants to drink."
    assert record.meta["boxes"] == [[3, 4, 28, 40], [31, 4, 56, 40], [59, 4, 84, 40]]
    assert record.meta["box_colours"] == ["red", "green", "blue"]
    picture = np.asarray(Image.open(io.BytesIO(record.images[0])).convert("RGB"))
    for left, colour in ((3, "red"), (31, "green"), (59, "blue")):
        assert tuple(picture[20, left]) == boxes.COLOURS[colour]


def test_a_question_that_names_nobody_keeps_its_picture(instances, raw) -> None:
    record = instances("vcr", "train")[1]
    assert record.inputs.startswith("What is this place?\nOptions:\n(A) A bar.") and "boxes" not in record.meta
    file = raw / "vcr/vcr1images/lsmdc_3091_BALL/3091_BALL_00.00.01.000-00.00.09.000@0.jpg"
    assert record.images == (file.read_bytes(),)


def test_validation_and_test_share_the_publishers_val_without_a_common_picture(instances, raw, tmp_path) -> None:
    folder = shutil.copytree(raw / "vcr", tmp_path / "vcr")
    lines = (folder / "val.jsonl").read_text().splitlines()
    again = [line.replace('"annot_id": "val-', '"annot_id": "val-1').replace("where", "why") for line in lines]
    (folder / "val.jsonl").write_text("\n".join(lines + again) + "\n")
    validation, test = (instances("vcr", split, raw=tmp_path) for split in ("validation", "test"))
    assert len(validation) + len(test) == 8 and validation and test
    assert not {record.meta["group"] for record in validation} & {record.meta["group"] for record in test}


def _first(raw, tmp_path, change):
    folder = shutil.copytree(raw / "vcr", tmp_path / "vcr")
    row = json.loads((folder / "train.jsonl").read_text().splitlines()[0])
    change(row)
    (folder / "train.jsonl").write_text(json.dumps(row) + "\n")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda row: row.update(answer_label=4), "no-answer"),
        (lambda row: row.update(question=["Who", "is", [3]]), "bad-box"),
        (lambda row: row.update(question=["Who", "is", [True]]), "bad-box"),
        (lambda row: row.update(question=["Who", 5]), "wrong-type"),
        (lambda row: row.update(answer_choices=["yes"]), "wrong-type"),
        (lambda row: row.update(objects=["person"] * 13, question=[list(range(13))]), "too-many-boxes"),
        (lambda row: row.update(metadata_fn="none.json"), "boxes-missing"),
        (lambda row: row.update(metadata_fn=row["img_fn"]), "boxes-unreadable"),
        (lambda row: row.update(metadata_fn="../../../coco/dataset_coco.json"), "path-outside"),
        (lambda row: row.pop("img_fn"), "missing-field"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_damaged_rows_are_named(change, reason, drafts, raw, tmp_path) -> None:
    _first(raw, tmp_path, change)
    assert [(row.place, row.reason) for row in drafts("vcr", "train", raw=tmp_path)] == [("train.jsonl:1", reason)]


@pytest.mark.parametrize("listed", [[[1, 2, 3]], [[1, 2, 3, "x"]] * 3, [[1, 2, 3, float("inf")]] * 3, {}, [3, 4, 5]])
def test_boxes_that_are_none_are_named(listed, drafts, raw, tmp_path) -> None:
    _first(raw, tmp_path, lambda row: None)
    (tmp_path / f"{_STEM}.json").write_text(json.dumps({"boxes": listed}))
    (row,) = drafts("vcr", "train", raw=tmp_path)
    assert row.reason in ("boxes-unreadable", "wrong-type")
