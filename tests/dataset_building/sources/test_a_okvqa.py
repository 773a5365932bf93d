import json
import shutil

import pytest


def test_the_answer_closes_the_first_rationale(instances, raw):
    first, second = instances("a-okvqa", "train")
    assert first.inputs == "What is the purple object for?"
    assert first.outputs == "An umbrella keeps water off the head. So the answer is rain."
    assert second.outputs == "A bus has many seats. So the answer is many."
    assert first.meta["references"] == [
        first.outputs,
        "Umbrellas are opened in wet weather. So the answer is rain.",
        "It is an umbrella. So the answer is rain.",
    ]
    assert (first.meta["answer"], first.meta["choices"]) == ("rain", ["sun", "rain", "snow", "wind"])
    assert first.images == ((raw / "coco/train2017/000000002005.jpg").read_bytes(),)


def test_a_picture_shares_its_group_with_coco_2014(instances, drafts):
    assert instances("a-okvqa", "train")[0].meta["group"] == (
        "COCO_train2014_000000002005.jpg+COCO_val2014_000000002005.jpg"
    )
    (record,) = instances("a-okvqa", "validation")
    assert (record.meta["group"], record.meta["origin_split"]) == ("COCO_val2014_000000002007.jpg", "val")
    assert drafts("a-okvqa", "test") == []


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("correct_choice_idx", 4, "no-answer"),
        ("correct_choice_idx", -1, "no-answer"),
        ("choices", [1, 2, 3], "no-answer"),
        ("rationales", [" ", 3], "no-rationale"),
        ("rationales", None, "missing-field"),
        ("image_id", "2005", "wrong-type"),
    ],
)
def test_a_damaged_row_is_named_and_the_next_goes_on(drafts, raw, tmp_path, name, value, reason):
    shutil.copytree(raw / "a-okvqa", tmp_path / "a-okvqa")
    file = tmp_path / "a-okvqa" / "aokvqa_v1p0_train.json"
    rows = json.loads(file.read_text())
    rows[0][name] = value
    file.write_text(json.dumps(rows))
    bad, good = drafts("a-okvqa", "train", raw=tmp_path)
    assert (bad.place, bad.reason) == ("aokvqa_v1p0_train.json: [0]", reason)
    assert good.origin == rows[1]["question_id"]
