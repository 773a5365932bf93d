import dataclasses
import io
import shutil
import zipfile

import openpyxl
import pytest

from m3it_jax import errors
from m3it_jax.dataset_building.publishers import raw as raw_files
from m3it_jax.dataset_building.sources import chinese_food


def test_ten_dishes_are_offered_in_chinese(instances, raw):
    record = next(record for record in instances("chinese-food", "test") if record.meta["origin"] == "004001.jpg")
    lines = record.inputs.split("\n")
    assert lines[0] == "Options:" and len(lines) == 11 and len(set(lines)) == 11
    assert record.outputs in lines and record.outputs[4:] == "饺子"
    assert record.language == "zh" and record.meta["class"] == "8"
    assert record.images[0] == (raw / "chinese-food/release_data/test/004001.jpg").read_bytes()


def test_there_is_a_test_split_alone(drafts):
    assert [len(drafts("chinese-food", split)) for split in ("train", "validation", "test")] == [0, 0, 3]


def test_the_sample_has_the_papers_number(drafts, monkeypatch):
    few = dataclasses.replace(chinese_food.SPEC.published, counts={"test": 2})
    monkeypatch.setattr(chinese_food, "SPEC", dataclasses.replace(chinese_food.SPEC, published=few))
    drawn = {tuple(row.origin for row in drafts("chinese-food", "test", seed=seed)) for seed in range(20)}
    assert {len(rows) for rows in drawn} == {2} and len(drawn) == 3


def test_damaged_rows_are_named(drafts, raw, tmp_path):
    shutil.copytree(raw / "chinese-food", tmp_path / "chinese-food")
    (tmp_path / "chinese-food" / "release_data" / "test_truth_list.txt").write_text("1.jpg 99\n2.jpg\n\n3.jpg x\n")
    assert [(row.place, row.reason) for row in drafts("chinese-food", "test", raw=tmp_path)] == [
        ("release_data/test_truth_list.txt:1", "unknown-class"),
        ("release_data/test_truth_list.txt:2", "missing-field"),
        ("release_data/test_truth_list.txt:4", "unknown-class"),
    ]


def table(*rows) -> bytes:
    book = openpyxl.Workbook()
    for row in rows:
        book.active.append(row)
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


def without_a_sheet() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        archive.writestr("[Content_Types].xml", "<Types/>")
    return buffer.getvalue()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"no table", "cannot be read"),
        (without_a_sheet(), "cannot be read"),
        (table(*((number, f"菜{number}") for number in range(9))), "names 9 dishes"),
        (table(*(("x", f"菜{number}") for number in range(20))), "cannot be read"),
    ],
)
def test_a_table_that_cannot_be_used_is_refused(drafts, raw, tmp_path, data, words):
    shutil.copytree(raw / "chinese-food", tmp_path / "chinese-food")
    (tmp_path / "chinese-food" / "class_names.xlsx").write_bytes(data)
    with pytest.raises(errors.UserError, match=words):
        drafts("chinese-food", "test", raw=tmp_path)


def test_a_table_that_unpacks_to_too_much_is_not_read(raw, monkeypatch):
    monkeypatch.setattr(raw_files, "MAX_LINE_BYTES", 1000)
    with pytest.raises(errors.UserError, match="unpacks to"):
        chinese_food.dish_names(raw_files.RawFolder(chinese_food.SPEC, {"chinese-food": raw / "chinese-food"}))
