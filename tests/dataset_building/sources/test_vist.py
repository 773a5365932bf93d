import dataclasses
import json
import shutil

from m3it_jax.dataset_building.sources import vist
from m3it_jax.dataset_building.specification import Draft


def test_a_story_is_five_photographs_in_order_and_its_sentences(instances, raw):
    record = next(record for record in instances("vist", "train") if record.meta["origin"] == "45001")
    # Its sentences stand in the file in the opposite order.
    assert record.outputs == (
        "We went to the fair. There was a red ball. Then we saw a box. It was yellow and large. We went home happy."
    )
    names = ["4001.jpg", "4002.jpg", "4003.jpg", "4004.jpg", "4005.png"]
    assert record.images == tuple((raw / "vist/images/train" / name).read_bytes() for name in names)
    assert record.inputs == "" and record.meta["group"] == "4001+4002+4003+4004+4005"
    assert record.meta["album_id"] == "d400"


def test_every_story_about_the_same_photographs_is_a_reference(instances):
    records = {record.meta["origin"]: record for record in instances("vist", "train")}
    first, second = records["45001"], records["45002"]
    assert first.meta["references"] == [first.outputs, second.outputs]
    assert second.meta["references"] == [second.outputs, first.outputs]


def test_splits_are_the_publishers(instances):
    assert [record.meta["origin"] for record in instances("vist", "validation")] == ["45011"]
    assert [record.meta["origin_split"] for record in instances("vist", "test")] == ["test"]


def test_at_most_the_papers_number_and_another_story_for_one_without_a_photograph(drafts, raw, tmp_path, monkeypatch):
    few = dataclasses.replace(vist.SPEC.published, counts={"train": 1})
    monkeypatch.setattr(vist, "SPEC", dataclasses.replace(vist.SPEC, published=few))
    found = [drafts("vist", "train", seed=seed) for seed in range(20)]
    assert {len(rows) for rows in found} == {1} and len({rows[0].origin for rows in found}) == 2
    shutil.copytree(raw / "vist", tmp_path / "vist")
    (tmp_path / "vist" / "images" / "train" / "4003.jpg").unlink()
    lost = drafts("vist", "train", raw=tmp_path)
    assert [row.reason for row in lost] == ["picture-missing"] * 2 and "images/train/4003" in lost[0].text


def test_damaged_stories_are_named(drafts, raw, tmp_path):
    shutil.copytree(raw / "vist", tmp_path / "vist")
    file = tmp_path / "vist" / "sis" / "train.story-in-sequence.json"
    data = json.loads(file.read_text())
    data["annotations"][0][0]["original_text"] = None  # of story 45001
    twice = [[{**entry[0], "story_id": "45003", "worker_arranged_photo_order": 1}] for entry in data["annotations"][5:]]
    data["annotations"] = [*data["annotations"][:-1], 7, [{"story_id": 5}], *twice]  # story 45002 lacks its end
    file.write_text(json.dumps(data))
    found = drafts("vist", "train", raw=tmp_path)
    assert not any(isinstance(row, Draft) for row in found)
    place = "sis/train.story-in-sequence.json: annotations"
    assert {(row.place, row.reason) for row in found} == {
        (f"{place}[0]", "missing-field"),
        (f"{place}[5]", "incomplete-story"),
        (f"{place}[9]", "wrong-type"),
        (f"{place}[10]", "missing-field"),
        (f"{place}[11]", "incomplete-story"),
    }
