import dataclasses
import io
import json
import shutil

import numpy as np
from PIL import Image

from m3it_jax.dataset_building.sources import msrvtt


def test_a_record_is_eight_frames_and_one_caption(instances):
    record = next(record for record in instances("msrvtt", "train") if record.meta["group"] == "video4001")
    assert record.inputs == "" and record.task == "video" and len(record.images) == 8
    captions = {"a red box moves to the right", "something red is moving on a light ground"}
    assert record.outputs in captions and set(record.meta["references"]) == captions
    frames = [np.asarray(Image.open(io.BytesIO(image))).astype(int) for image in record.images]
    red = [np.argwhere((frame[..., 0] > 150) & (frame[..., 1] < 110))[:, 1].mean() for frame in frames]
    assert red == sorted(red) and red[-1] - red[0] > 20  # the box moves to the right


def test_validation_is_the_9k_list_without_the_7k_list(instances):
    assert [record.meta["group"] for record in instances("msrvtt", "validation")] == ["video4003"]


def test_a_test_video_has_the_listed_caption_and_others_one_at_random(drafts):
    tested = [row for seed in range(20) for row in drafts("msrvtt", "test", seed=seed)]
    assert (
        {row.outputs for row in tested} == {"a purple box slides to the left"} == {row.references[0] for row in tested}
    )
    assert {row.origin_split for row in tested} == {"test 1k-A"}
    assert len({row.outputs for seed in range(20) for row in drafts("msrvtt", "validation", seed=seed)}) == 2


def test_the_sample_has_the_papers_number(drafts, monkeypatch):
    few = dataclasses.replace(msrvtt.SPEC.published, counts={"train": 1, "validation": 0, "test": 1})
    monkeypatch.setattr(msrvtt, "SPEC", dataclasses.replace(msrvtt.SPEC, published=few))
    assert [len(drafts("msrvtt", split)) for split in ("train", "validation", "test")] == [1, 0, 1]
    assert len({drafts("msrvtt", "train", seed=seed)[0].group for seed in range(20)}) == 2


def test_damaged_rows_are_named(drafts, raw, tmp_path):
    shutil.copytree(raw / "msrvtt", tmp_path / "msrvtt")
    folder = tmp_path / "msrvtt" / "msrvtt_data"
    (folder / "MSRVTT_JSFUSION_test.csv").write_text(
        "key,vid_key,video_id,sentence\nret0,msr1,video1,a dog\nret1,msr2\n"
    )
    found = drafts("msrvtt", "test", raw=tmp_path)
    assert {(row.place, row.reason) for row in found} == {
        ("msrvtt_data/MSRVTT_JSFUSION_test.csv:2", "unknown-id"),
        ("msrvtt_data/MSRVTT_JSFUSION_test.csv:3", "missing-field"),
    }


def test_a_damaged_caption_leaves_the_others(drafts, raw, tmp_path):
    shutil.copytree(raw / "msrvtt", tmp_path / "msrvtt")
    file = tmp_path / "msrvtt" / "msrvtt_data" / "MSRVTT_data.json"
    data = json.loads(file.read_text())
    for number, caption in enumerate((7, None, " ")):
        data["sentences"].insert(0, {"caption": caption, "video_id": "video4001", "sen_id": 100 + number})
    data["sentences"].insert(0, "none")
    file.write_text(json.dumps(data))
    first = next(row for row in drafts("msrvtt", "train", raw=tmp_path) if row.group == "video4001")
    assert len(first.references) == 2
