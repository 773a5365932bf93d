import dataclasses
import json
import shutil

import pytest

from m3it_jax.dataset_building.sources import visual_mrc


def test_each_question_is_a_record_with_its_regions_outlined(instances, raw) -> None:
    first, second = instances("visual-mrc", "train")
    assert (first.inputs, first.outputs) == ("What is the page about?", "It is about a ball.")
    assert first.meta["boxes"] == [[4, 6, 34, 22], [14, 26, 44, 42]] and first.meta["changes"] == ["2 boxes drawn"]
    assert second.outputs == "The page does not name its author."
    assert second.images == ((raw / "visual-mrc/images/3071.png").read_bytes(),)
    assert first.meta["group"] == second.meta["group"] == "3071.png"


def test_splits_are_the_publishers(instances) -> None:
    assert [record.meta["origin"] for record in instances("visual-mrc", "validation")] == ["3072/0"]
    assert [record.meta["origin"] for record in instances("visual-mrc", "test")] == ["3073/0", "3073/1"]


def test_the_paper_count_is_drawn(drafts, monkeypatch) -> None:
    known = dataclasses.replace(visual_mrc.SPEC.published, counts={"train": 1, "validation": 1, "test": 1})
    monkeypatch.setattr(visual_mrc, "SPEC", dataclasses.replace(visual_mrc.SPEC, published=known))
    found = [drafts("visual-mrc", "train", seed=seed) for seed in range(9)]
    assert {len(rows) for rows in found} == {1} and {rows[0].origin for rows in found} == {"3071/0", "3071/1"}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda page: page.update(qa_data=None), "missing-field"),
        (lambda page: page.update(qa_data=["why"]), "wrong-type"),
        (lambda page: page.update(bounding_boxes=None), "missing-field"),
        (lambda page: page.update(bounding_boxes=[7]), "wrong-type"),
        (lambda page: page["qa_data"][0]["answer"].update(relevant=["9"]), "bad-box"),
        (lambda page: page["bounding_boxes"][1]["shape"].update(x="4"), "wrong-type"),
        (lambda page: page.pop("image_filename"), "missing-field"),
    ],
)
def test_damaged_rows_are_named(change, reason, drafts, raw, tmp_path) -> None:
    folder = shutil.copytree(raw / "visual-mrc", tmp_path / "visual-mrc")
    file = folder / "data/dev.jsonl"
    page = json.loads(file.read_text())
    change(page)
    file.write_text("\n" + json.dumps(page) + "\n{\n")
    found = drafts("visual-mrc", "validation", raw=tmp_path)
    assert {row.reason for row in found} == {reason, "not-json"}
    assert {row.place.split(": ")[0] for row in found} == {"data/dev.jsonl:2", "data/dev.jsonl:3"}
