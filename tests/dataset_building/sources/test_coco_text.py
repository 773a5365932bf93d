import json
import shutil

import pytest

from m3it_jax import errors
from m3it_jax.dataset_building import sources


def _changed(raw, tmp_path, change) -> None:
    shutil.copytree(raw / "coco-text", tmp_path / "coco-text")
    file = tmp_path / "coco-text/COCO_Text.json"
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def test_each_text_region_is_asked_for(instances) -> None:
    clear, unclear = instances("coco-text", "train")
    assert clear.inputs == unclear.inputs == "Options: legible or illegible."
    assert (clear.outputs, unclear.outputs) == ("legible", "illegible")
    assert clear.meta["options"] == ["legible", "illegible"]
    assert clear.meta["boxes"] == [[7, 9, 34, 22]] and clear.meta["written"] == "STOP"
    assert "written" not in unclear.meta
    assert clear.meta["group"] == "COCO_train2014_000000001006.jpg" and clear.meta["origin"] == "100601"


def test_splits_are_the_publishers_and_capped(instances, monkeypatch) -> None:
    assert {record.meta["group"] for record in instances("coco-text", "validation")} == {
        "COCO_train2014_000000001007.jpg"
    }
    assert instances("coco-text", "test") == []
    monkeypatch.setitem(sources.load("coco-text").published.counts, "train", 1)
    assert len(instances("coco-text", "train")) == 1


def test_damaged_regions_are_named(drafts, raw, tmp_path) -> None:
    def damage(content) -> None:
        content["anns"]["100601"]["legibility"] = "perhaps"
        content["anns"]["100602"]["bbox"] = None
        content["anns"]["100701"]["image_id"] = 5

    _changed(raw, tmp_path, damage)
    found = {row.place: row.reason for row in drafts("coco-text", "train", raw=tmp_path)}
    assert found == {
        "COCO_Text.json: anns['100601']": "unknown-label",
        "COCO_Text.json: anns['100602']": "missing-field",
        "COCO_Text.json: anns['100701']": "missing-field",
    }


def test_a_file_of_another_kind_is_the_users_mistake(drafts, raw, tmp_path) -> None:
    _changed(raw, tmp_path, lambda content: content.pop("anns"))
    with pytest.raises(
        errors.UserError, match=r"COCO_Text.json: has no field 'anns'; its fields: .*; get the file again"
    ):
        drafts("coco-text", "train", raw=tmp_path)
