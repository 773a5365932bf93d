import io
import json
import shutil

from PIL import Image


def test_each_reference_caption_is_a_record_and_restval_trains(instances, raw) -> None:
    records = instances("coco", "train")
    assert len(records) == 4
    assert {record.meta["origin_split"] for record in records} == {"train", "restval"}
    first = records[0]
    assert first.outputs == "A red ball on a light floor." and first.inputs == ""
    assert first.meta["references"] == ["A red ball on a light floor.", "One red ball seen from above."]
    assert first.images[0] == (raw / "coco/train2014/COCO_train2014_000000000001.jpg").read_bytes()
    assert Image.open(io.BytesIO(first.images[0])).size == (64, 48)


def test_splits_are_karpathys(instances) -> None:
    assert {record.meta["group"] for record in instances("coco", "validation")} == {"COCO_val2014_000000000003.jpg"}
    assert {record.meta["group"] for record in instances("coco", "test")} == {"COCO_val2014_000000000004.jpg"}


def test_damaged_rows_are_named(drafts, raw, tmp_path) -> None:
    shutil.copytree(raw / "coco", tmp_path / "coco")
    file = tmp_path / "coco" / "dataset_coco.json"
    images = json.loads(file.read_text())["images"]
    images[0]["sentences"] = "none"
    images[1] = 7
    file.write_text(json.dumps({"images": images}))
    found = drafts("coco", "train", raw=tmp_path)
    assert [(row.place, row.reason) for row in found] == [
        ("dataset_coco.json: images[0]", "wrong-type"),
        ("dataset_coco.json: images[1]", "wrong-type"),
    ]
