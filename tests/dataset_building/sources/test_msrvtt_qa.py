import json
import shutil


def test_one_question_of_each_video_and_the_videos_of_msrvtt(instances):
    records = instances("msrvtt-qa", "train")
    assert sorted(record.meta["group"] for record in records) == ["video4001", "video4002"]
    record = next(record for record in records if record.meta["group"] == "video4002")
    assert (record.inputs, record.outputs) == ("what rolls to the left?", "ball")
    assert len(record.images) == 8 and record.meta["origin"] == "40012" and record.task == "video"


def test_the_question_depends_on_the_seed(drafts):
    asked = {
        row.origin for seed in range(20) for row in drafts("msrvtt-qa", "train", seed=seed) if row.group == "video4001"
    }
    assert asked == {"40010", "40011"}


def test_splits_are_the_publishers(drafts):
    assert [row.group for row in drafts("msrvtt-qa", "validation")] == ["video4003"]
    assert [row.group for row in drafts("msrvtt-qa", "test")] == ["video4004"]


def test_damaged_rows_are_named(drafts, raw, tmp_path):
    shutil.copytree(raw / "msrvtt-qa", tmp_path / "msrvtt-qa")
    rows = [{"video_id": "1", "question": "a?", "answer": "b", "id": 0}, {"video_id": 2, "question": "a?", "id": 1}, 7]
    (tmp_path / "msrvtt-qa" / "val_qa.json").write_text(json.dumps(rows))
    found = drafts("msrvtt-qa", "validation", raw=tmp_path)
    assert [(row.place, row.reason) for row in found] == [
        ("val_qa.json: [0]", "wrong-type"),
        ("val_qa.json: [1]", "missing-field"),
        ("val_qa.json: [2]", "wrong-type"),
    ]
