import json
import shutil


def test_the_raw_answer_is_taken_not_the_stem(instances, raw):
    first, second = instances("okvqa", "train")
    assert (first.inputs, first.outputs) == ("What do these animals like to do with a ball?", "fetching")
    assert first.meta["references"] == ["fetching"] * 6 + ["chase it"] * 4
    assert first.images == ((raw / "coco/train2014/COCO_train2014_000000002001.jpg").read_bytes(),)
    assert (second.outputs, second.task, second.meta["origin_split"]) == ("london", "knowledge_vqa", "train2014")


def test_validation_lies_in_val2014_and_there_is_no_test(instances, drafts):
    (record,) = instances("okvqa", "validation")
    assert (record.outputs, record.meta["group"]) == ("wind", "COCO_val2014_000000002003.jpg")
    assert drafts("okvqa", "test") == []


def test_damaged_rows_are_named(drafts, raw, tmp_path):
    shutil.copytree(raw / "okvqa", tmp_path / "okvqa")
    file = tmp_path / "okvqa" / "mscoco_train2014_annotations.json"
    content = json.loads(file.read_text())
    content["annotations"][0]["answers"] = []
    del content["annotations"][1]["answers"][3]["raw_answer"]
    file.write_text(json.dumps(content))
    found = drafts("okvqa", "train", raw=tmp_path)
    assert [(row.place[-12:], row.reason) for row in found] == [
        ("questions[0]", "no-answer"),
        ("questions[1]", "missing-field"),
    ]
