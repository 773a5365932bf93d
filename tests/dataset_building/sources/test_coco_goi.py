import io
import json
import shutil

import numpy as np
from PIL import Image

from m3it_jax.dataset_building import sources
from m3it_jax.dataset_building.publishers import adapters

FILE = "annotations/instances_train2014.json"


def _changed(raw, tmp_path, change) -> None:
    shutil.copytree(raw / "coco-goi", tmp_path / "coco-goi")
    file = tmp_path / "coco-goi" / FILE
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def test_options_are_the_classes_of_the_picture_and_the_box_is_drawn(instances) -> None:
    record = instances("coco-goi", "train")[0]
    assert record.inputs == "Options:\n(A) kite\n(B) sports ball\n(C) book"
    assert record.outputs == "The answer is (B) sports ball."
    assert record.meta["options"] == ["(A) kite", "(B) sports ball", "(C) book"]
    assert record.meta["boxes"] == [[4, 26, 21, 43]] and record.meta["origin"] == "10017"
    pixels = np.asarray(Image.open(io.BytesIO(record.images[0])))
    left, top, right, bottom = record.meta["boxes"][0]
    assert (pixels[top, left:right] == (255, 0, 0)).all() and (pixels[bottom - 1, left:right] == (255, 0, 0)).all()


def test_neither_a_crowd_nor_a_picture_of_one_class_is_asked_for(instances) -> None:
    for seed in range(8):
        by_name = {record.meta["group"]: record for record in instances("coco-goi", "train", seed=seed)}
        assert set(by_name) == {"COCO_train2014_000000001001.jpg", "COCO_train2014_000000001002.jpg"}
        crowded = by_name["COCO_train2014_000000001002.jpg"]  # its book is marked as a crowd
        assert crowded.outputs.endswith(" sports ball.") and "book" in crowded.inputs


def test_splits_are_cocos_and_capped(instances, monkeypatch) -> None:
    assert [record.meta["origin_split"] for record in instances("coco-goi", "validation")] == ["val2014"] * 2
    assert instances("coco-goi", "test") == []
    monkeypatch.setitem(sources.load("coco-goi").published.counts, "train", 1)
    assert len(instances("coco-goi", "train")) == 1


def test_more_than_26_classes_have_letters_of_their_own(drafts, raw, tmp_path) -> None:
    def many(content) -> None:
        content["categories"] += [{"id": number, "name": f"thing {number}"} for number in range(100, 130)]
        like = content["annotations"][0]
        content["annotations"] += [{**like, "id": number, "category_id": number} for number in range(100, 130)]

    _changed(raw, tmp_path, many)
    found = drafts("coco-goi", "train", raw=tmp_path)[0]
    assert len(found.options) == 33
    assert [line.split(" ")[0] for line in found.options] == [f"({adapters.letter(place)})" for place in range(33)]
    assert found.options[26].startswith("(AA) ") and found.outputs[14:-1] in found.options


def test_damaged_annotations_are_named(drafts, raw, tmp_path) -> None:
    def damage(content) -> None:
        content["annotations"][0]["bbox"] = [1, 2, 3]
        content["annotations"][1]["category_id"] = 7
        content["annotations"][2]["image_id"] = 99
        content["annotations"][3] = None

    _changed(raw, tmp_path, damage)
    rejected = drafts("coco-goi", "train", raw=tmp_path)
    assert [(row.place, row.reason) for row in rejected] == [
        (f"{FILE}: annotations[0]", "bad-box"),
        (f"{FILE}: annotations[1]", "unknown-id"),
        (f"{FILE}: annotations[2]", "unknown-id"),
        (f"{FILE}: annotations[3]", "wrong-type"),
    ]
