import dataclasses
import hashlib
import shutil

import pytest

from m3it_jax.dataset_building.sources import mmchat
from m3it_jax.dataset_building.specification import Draft


def test_the_last_turn_answers_the_turns_before_it_about_the_first_picture_that_is_there(instances, raw):
    record = next(record for record in instances("mmchat", "train") if record.meta["origin"] == "1")
    assert record.inputs == "这是你新买的杯子吗？\n是的，红色的，好看吧\n好看，在哪里买的？"
    assert record.outputs == "楼下的小店" and record.language == "zh" and record.task == "chinese"
    # The first of its two pictures is gone.
    name = mmchat.picture_name("https://wx1.example.com/large/d4001b.jpg")
    assert record.images == ((raw / "mmchat/weibo_img/image" / name).read_bytes(),)


@pytest.mark.parametrize(
    ("url", "suffix"),
    [("https://a.b/c/d.png", "png"), ("https://a.b/c/d.jpg?x=1.gif", "jpg"), ("https://a.b/d", "jpg")],
)
def test_pictures_have_the_names_of_the_publishers_downloader(url, suffix):
    assert mmchat.picture_name(url) == f"{hashlib.sha256(url.encode()).hexdigest()}.{suffix}"


def test_splits_are_the_publishers(instances):
    assert [record.outputs for record in instances("mmchat", "validation")] == ["猜对了"]
    assert [record.meta["origin_split"] for record in instances("mmchat", "test")] == ["test"]


def test_damaged_rows_are_named(drafts, raw, tmp_path):
    shutil.copytree(raw / "mmchat", tmp_path / "mmchat")
    lines = ['["只有一句"]', '{"a": 1}', '["你好", "再见"', '["你好", "再见"]', '["猜", "对"]', '["你好", "再见"]']
    (tmp_path / "mmchat" / "dialog_dev.jsonl").write_text("\n".join(lines))
    here = (tmp_path / "mmchat" / "img_url_dev.jsonl").read_text().strip()
    (tmp_path / "mmchat" / "img_url_dev.jsonl").write_text(
        f"{here}\n{here}\n{here}\n\n{here}\nhttps://gone.org/a.jpg\n"
    )
    found = drafts("mmchat", "validation", raw=tmp_path)
    assert [row.origin for row in found if isinstance(row, Draft)] == ["5"]
    assert {(row.place, row.reason) for row in found if not isinstance(row, Draft)} == {
        ("dialog_dev.jsonl:1", "too-short"),
        ("dialog_dev.jsonl:2", "wrong-type"),
        ("dialog_dev.jsonl:3", "not-json"),
        ("dialog_dev.jsonl:4", "picture-missing"),
        ("dialog_dev.jsonl:6", "picture-missing"),
    }


def test_at_most_the_papers_number(drafts, monkeypatch):
    few = dataclasses.replace(mmchat.SPEC.published, counts={"train": 1})
    monkeypatch.setattr(mmchat, "SPEC", dataclasses.replace(mmchat.SPEC, published=few))
    found = [drafts("mmchat", "train", seed=seed) for seed in range(20)]
    assert {len(rows) for rows in found} == {1} and {rows[0].origin for rows in found} == {"1", "2"}
