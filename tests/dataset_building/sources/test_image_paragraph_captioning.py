import json
import shutil

NAME = "image-paragraph-captioning"


def test_a_picture_has_one_paragraph_on_one_line(instances, raw) -> None:
    first, second = instances(NAME, "train")
    assert first.outputs == (
        "There is a purple ball on the left. A blue kite is in the air above it. On the right a yellow book "
        "is standing upright."
    )
    assert first.inputs == "" and first.meta["origin"] == "1024" and first.meta["group"] == "1024.jpg"
    assert first.images[0] == (raw / NAME / "VG_100K/1024.jpg").read_bytes()
    assert second.images[0] == (raw / NAME / "VG_100K_2/1025.jpg").read_bytes()


def test_the_split_is_that_of_the_publishers_lists(instances) -> None:
    found = {split: [row.meta["origin"] for row in instances(NAME, split)] for split in ("train", "validation", "test")}
    assert found == {"train": ["1024", "1025"], "validation": ["1026"], "test": ["1027"]}


def test_damaged_rows_are_named(drafts, raw, tmp_path) -> None:
    shutil.copytree(raw / NAME, tmp_path / NAME)
    file = tmp_path / NAME / "paragraphs_v1.json"
    rows = json.loads(file.read_text())
    del rows[0]["paragraph"]
    rows[1]["url"] = "https://example.org/elsewhere/1025.jpg"
    rows[2]["image_id"] = "1026"
    file.write_text(json.dumps(rows[:4]))
    assert [(row.place, row.reason) for row in drafts(NAME, "train", raw=tmp_path)] == [
        ("paragraphs_v1.json: [0]", "missing-field"),
        ("paragraphs_v1.json: [1]", "bad-name"),
        ("paragraphs_v1.json: [2]", "wrong-type"),
    ]
