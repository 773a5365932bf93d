import json

import pytest


def test_question_answer_and_instruction_are_chinese(instances, raw):
    first = instances("fm-iqa", "train")[0]
    assert (first.inputs, first.outputs, first.language) == ("这只狗是什么颜色的？", "棕色。", "zh")
    assert "图" in first.instruction or "照片" in first.instruction or "中文" in first.instruction
    assert first.images == ((raw / "coco/train2014/COCO_train2014_000000002001.jpg").read_bytes(),)
    assert first.meta["origin"] == "20010"


def test_the_second_list_is_validation(instances, drafts):
    (record,) = instances("fm-iqa", "validation")
    assert (record.outputs, record.meta["group"]) == ("有一条帆船。", "COCO_val2014_000000002003.jpg")
    assert drafts("fm-iqa", "test") == []


@pytest.mark.parametrize("image_id", [2001, "2001", "000000002001"])
def test_the_number_of_a_picture_may_be_text(drafts, tmp_path, image_id):
    (draft,) = drafts("fm-iqa", "train", raw=_written(tmp_path, image_id))
    assert draft.group == "COCO_train2014_000000002001.jpg"


@pytest.mark.parametrize("image_id", ["", "-1", "../x", "٣", "9" * 5000, None, [1]])
def test_a_damaged_row_is_named(drafts, tmp_path, image_id):
    (row,) = drafts("fm-iqa", "train", raw=_written(tmp_path, image_id))
    assert row.place == "FM-IQA.json: train[0]" and row.reason in ("wrong-type", "missing-field")


def _written(folder, image_id):
    (folder / "fm-iqa").mkdir()
    row = {"question_id": 1, "image_id": image_id, "Question": "几个？", "Answer": "两个"}
    (folder / "fm-iqa" / "FM-IQA.json").write_text(json.dumps({"train": [row]}))
    return folder
