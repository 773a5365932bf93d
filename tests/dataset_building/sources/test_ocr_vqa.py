import json
import shutil

import pytest

from m3it_jax.dataset_building import sources

BOOK = {
    "imageURL": "http://x.example/a/b.jpg?size=.png",
    "questions": ["Who wrote it?", "Is it old?"],
    "answers": ["A. Author", "No"],
    "split": 1,
}


def test_each_question_about_a_cover_is_a_record(instances, raw):
    records = instances("ocr-vqa", "train")
    assert [(record.inputs, record.outputs) for record in records] == [
        ("Who wrote this book?", "A. Keeper"),
        ("What is the title of this book?", "Bees in Spring"),
        ("Is this book related to Science?", "Yes"),
    ]
    assert {record.images[0] for record in records} == {(raw / "ocr-vqa/images/2001000001.jpg").read_bytes()}
    assert [record.meta["origin"] for record in records] == [f"2001000001/{number}" for number in range(3)]


def test_split_2_is_validation_and_a_gif_becomes_png(instances, drafts):
    records = instances("ocr-vqa", "validation")
    assert {record.meta["group"] for record in records} == {"2001000002.gif"}
    assert all(record.images[0].startswith(b"\x89PNG") for record in records)
    assert drafts("ocr-vqa", "test") == []


def test_questions_are_drawn_not_books(drafts, monkeypatch):
    monkeypatch.setitem(sources.load("ocr-vqa").published.counts, "train", 2)
    drawn = {tuple(draft.origin for draft in drafts("ocr-vqa", "train", seed=seed)) for seed in range(20)}
    assert len(drawn) == 3


def test_the_ending_of_a_picture_is_that_of_its_address(drafts, tmp_path):
    found = drafts("ocr-vqa", "train", raw=_written(tmp_path, BOOK))
    assert [draft.images[0].name for draft in found] == ["images/b1.jpg"] * 2


@pytest.mark.parametrize(
    ("change", "places"),
    [
        ({"answers": ["A. Author"]}, {"dataset.json: b1/1": "no-answer"}),
        ({"answers": [None, "No"]}, {"dataset.json: b1/0": "no-answer"}),
        ({"questions": "Who?"}, {"dataset.json: b1": "wrong-type"}),
        ({"split": "1"}, {"dataset.json: b1": "wrong-type"}),
        ({"imageURL": None}, {"dataset.json: b1/0": "missing-field", "dataset.json: b1/1": "missing-field"}),
    ],
)
def test_damaged_rows_are_named(drafts, tmp_path, change, places):
    found = drafts("ocr-vqa", "train", raw=_written(tmp_path, {**BOOK, **change}))
    assert {row.place: row.reason for row in found if hasattr(row, "reason")} == places


def _written(folder, book):
    (folder / "ocr-vqa").mkdir()
    (folder / "ocr-vqa" / "dataset.json").write_text(json.dumps({"b1": book}))
    return folder


def test_a_gif_that_a_mirror_renamed_is_found(instances, raw, tmp_path):
    shutil.copytree(raw / "ocr-vqa", tmp_path / "ocr-vqa")
    images = tmp_path / "ocr-vqa" / "images"
    (images / "2001000002.gif").rename(images / "2001000002.jpg")
    assert instances("ocr-vqa", "validation", raw=tmp_path) == instances("ocr-vqa", "validation")
