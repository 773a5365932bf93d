import dataclasses
import shutil

from m3it_jax.dataset_building.sources import msvd_qa
from m3it_jax.dataset_building.specification import Draft


def test_clips_have_their_number_or_their_youtube_name(instances):
    records = {record.meta["group"]: record for record in instances("msvd-qa", "train")}
    assert sorted(records) == ["vid4001", "vid4002"]
    assert records["vid4002"].inputs == "what is moving?" and records["vid4002"].outputs == "box"
    assert all(len(record.images) == 8 for record in records.values())


def test_splits_are_the_publishers(instances):
    assert [record.meta["group"] for record in instances("msvd-qa", "validation")] == ["vid4003"]
    assert [record.meta["origin_split"] for record in instances("msvd-qa", "test")] == ["test"]


def test_without_the_mapping_numbered_clips_are_read(drafts, raw, tmp_path):
    shutil.copytree(raw / "msvd-qa", tmp_path / "msvd-qa")
    (tmp_path / "msvd-qa" / "youtube_mapping.txt").unlink()
    found = drafts("msvd-qa", "train", raw=tmp_path)
    assert {row.group for row in found if isinstance(row, Draft)} == {"vid4001"}
    (lost,) = [row for row in found if not isinstance(row, Draft)]
    assert (lost.place, lost.reason) == ("train_qa.json: [2]", "picture-missing") and "video/vid4002" in lost.text


def test_at_most_the_papers_number_and_another_clip_for_one_that_is_gone(drafts, raw, tmp_path, monkeypatch):
    few = dataclasses.replace(msvd_qa.SPEC.published, counts={"train": 1})
    monkeypatch.setattr(msvd_qa, "SPEC", dataclasses.replace(msvd_qa.SPEC, published=few))
    assert {drafts("msvd-qa", "train", seed=seed)[0].group for seed in range(20)} == {"vid4001", "vid4002"}
    shutil.copytree(raw / "msvd-qa", tmp_path / "msvd-qa")
    (tmp_path / "msvd-qa" / "video" / "vid4001.avi").unlink()
    for seed in range(6):
        assert drafts("msvd-qa", "train", raw=tmp_path, seed=seed)[-1].group == "vid4002"
