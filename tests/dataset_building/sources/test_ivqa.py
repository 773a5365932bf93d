import dataclasses
import shutil

import pytest

from m3it_jax.dataset_building.sources import ivqa
from m3it_jax.dataset_building.specification import Draft

HEAD = "video_id,start,end,question,answer1,answer2,answer3,answer4,answer5\n"


def test_the_most_frequent_answer_is_wanted_and_the_clip_is_a_span(instances, drafts):
    record = next(record for record in instances("ivqa", "train") if record.meta["group"] == "d4001-cook-")
    assert record.inputs == "What is being rolled over the board?" and record.outputs == "ball"
    assert record.meta["references"] == ["ball", "red ball", "tomato"]
    assert len(record.images) == 8
    first = next(row for row in drafts("ivqa", "train") if row.group == "d4001-cook-")
    assert first.images[0].name == "video/d4001-cook-.mp4" and first.images[0].span == (1.0, 3.0)


def test_splits_are_the_publishers(instances):
    assert [record.outputs for record in instances("ivqa", "validation")] == ["purple"]
    assert [record.meta["group"] for record in instances("ivqa", "test")] == ["d4004-cook-"]


def test_without_a_span_the_file_is_the_clip(drafts, raw, tmp_path):
    shutil.copytree(raw / "ivqa", tmp_path / "ivqa")
    rows = "video_id,question,answer1,answer2,answer3,answer4,answer5\nd4001-cook-,What?,a,a,b,c,d\n"
    (tmp_path / "ivqa" / "val.csv").write_text(rows)
    (row,) = drafts("ivqa", "validation", raw=tmp_path)
    assert row.images[0].span is None


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("gone,0,2,What?,a,a,b,c,d", "picture-missing"),
        ("d4001-cook-,x,2,What?,a,a,b,c,d", "wrong-type"),
        ("d4001-cook-,3,2,What?,a,a,b,c,d", "wrong-type"),
        ("d4001-cook-,nan,2,What?,a,a,b,c,d", "wrong-type"),
        ("d4001-cook-,0,inf,What?,a,a,b,c,d", "wrong-type"),
        ("d4001-cook-,0,2,What?,a,a", "missing-field"),
        ("d4001-cook-,0,2, ,a,a,b,c,d", "empty-question"),
    ],
)
def test_damaged_rows_are_named(drafts, raw, tmp_path, line, reason):
    shutil.copytree(raw / "ivqa", tmp_path / "ivqa")
    (tmp_path / "ivqa" / "val.csv").write_text(f"{HEAD}{line}\n")
    (row,) = drafts("ivqa", "validation", raw=tmp_path)
    assert (row.place, row.reason) == ("val.csv:2", reason)


def test_at_most_the_papers_number(drafts, monkeypatch):
    few = dataclasses.replace(ivqa.SPEC.published, counts={"train": 1})
    monkeypatch.setattr(ivqa, "SPEC", dataclasses.replace(ivqa.SPEC, published=few))
    found = [drafts("ivqa", "train", seed=seed) for seed in range(20)]
    assert all(len(rows) == 1 and isinstance(rows[0], Draft) for rows in found)
    assert len({rows[0].group for rows in found}) == 2
