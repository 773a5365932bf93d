import json
import shutil

from m3it_jax.dataset_building import sources


def test_each_caption_is_a_record_and_all_captions_of_its_picture_are_right(instances, raw) -> None:
    first, second, *_ = instances("textcap", "train")
    assert first.inputs == "" and first.outputs == "A white label that says MILK."
    assert first.meta["references"] == [first.outputs, second.outputs]
    assert first.meta["group"] == second.meta["group"] == "0a1b2c3d4e5f1051.jpg"
    assert first.meta["origin"] == "1000" and first.meta["origin_split"] == "train"
    assert first.images[0] == (raw / "textcap/train_images/0a1b2c3d4e5f1051.jpg").read_bytes()


def test_validation_is_the_publishers_and_the_paper_has_no_test(instances) -> None:
    assert {record.meta["group"] for record in instances("textcap", "validation")} == {"0a1b2c3d4e5f1053.jpg"}
    assert instances("textcap", "test") == []


def test_no_more_captions_are_drawn_than_the_paper_has(instances, monkeypatch) -> None:
    every = {record.id for record in instances("textcap", "train")}
    monkeypatch.setitem(sources.load("textcap").published.counts, "train", 2)
    drawn = [{record.id for record in instances("textcap", "train", seed=seed)} for seed in range(6)]
    assert all(len(ids) == 2 and ids < every for ids in drawn)
    assert len({frozenset(ids) for ids in drawn}) > 1


def test_damaged_rows_are_named(drafts, raw, tmp_path) -> None:
    shutil.copytree(raw / "textcap", tmp_path / "textcap")
    file = tmp_path / "textcap/TextCaps_0.1_val.json"
    content = json.loads(file.read_text())
    content["data"] = [{"image_id": 5, "caption_id": 1}, "x", content["data"][0]]
    file.write_text(json.dumps(content))
    bad, worse, sound = drafts("textcap", "validation", raw=tmp_path)
    assert (bad.place, bad.reason) == ("TextCaps_0.1_val.json: data[0]", "wrong-type") and "image_id" in bad.text
    assert (worse.place, worse.reason) == ("TextCaps_0.1_val.json: data[1]", "wrong-type")
    assert sound.outputs == "A white label that says CAFE."
