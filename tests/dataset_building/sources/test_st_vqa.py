import json
import shutil


def test_pictures_of_train_lie_by_collection(instances, raw):
    first, second = instances("st-vqa", "train")
    assert (first.inputs, first.outputs) == ("What does the orange sign say?", "STOP")
    assert first.images == ((raw / "st-vqa/coco-text/COCO_train2014_000000002010.jpg").read_bytes(),)
    assert first.meta["group"] == "COCO_train2014_000000002010.jpg"
    assert (second.outputs, second.meta["references"]) == ("Milk", ["Milk", "MILK"])


def test_pictures_of_test_lie_in_their_own_folder(instances, raw, drafts):
    (record,) = instances("st-vqa", "test")
    assert record.images == ((raw / "st-vqa/test_task3_imgs/icdar/icdar_2012.jpg").read_bytes(),)
    assert drafts("st-vqa", "validation") == []


def test_damaged_and_withheld_rows_are_named(drafts, raw, tmp_path):
    shutil.copytree(raw / "st-vqa", tmp_path / "st-vqa")
    for split in ("train", "test"):
        file = tmp_path / "st-vqa" / f"{split}_task_3.json"
        content = json.loads(file.read_text())
        del content["data"][0]["answers"]
        file.write_text(json.dumps(content))
    bad, good = drafts("st-vqa", "train", raw=tmp_path)
    assert (bad.place, bad.reason, good.origin) == ("train_task_3.json: data[0]", "missing-field", "2011")
    (withheld,) = drafts("st-vqa", "test", raw=tmp_path)
    assert (withheld.place, withheld.reason) == ("test_task_3.json: data[0]", "answer-withheld")
    (tmp_path / "st-vqa" / "test_task_3.json").unlink()
    assert drafts("st-vqa", "test", raw=tmp_path) == []
