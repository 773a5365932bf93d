import json
import re

import pytest

from m3it_jax import errors, schema
from m3it_jax.dataset_building import interchange
from m3it_jax.dataset_building.interchange import m3it_80


@pytest.fixture
def folder(tmp_path, lines, text_of):
    """Two tasks in two languages, with the pictures' files."""
    for task in ("vqa-v2", "vist"):
        base = tmp_path / "data" / task
        pictures = [{"image_base64_str": [text_of(n)], "meta": {"image_id": n}} for n in range(3)]
        lines(base / "val_500.jsonl", *pictures)
        for language in ("zh", "ast"):
            rows = [{"instruction": f"{language} {n}", "input": "", "output": f"answer {n}"} for n in range(3)]
            lines(base / f"{task}_val_{language}.jsonl", *rows)
    (tmp_path / "data" / "instructions").mkdir()
    (tmp_path / "data" / "instructions" / "zh.jsonl").write_text("{}\n")
    return tmp_path / "data"


def test_the_list_of_languages_is_the_papers():
    assert len(m3it_80.LANGUAGES) == len(set(m3it_80.LANGUAGES)) == 80
    assert all(re.fullmatch("[a-z]{2,3}", tag) for tag in m3it_80.LANGUAGES)
    assert set(m3it_80.TASKS.values()) <= set(schema.TASKS)


def test_texts_are_joined_with_the_pictures_of_their_row(folder, imported, jpeg):
    found, rejected = imported("m3it-80", folder / "vqa-v2")
    records = found["validation"]
    assert not rejected and len(records) == 6
    for record in records:
        number = int(record.outputs.split()[-1])
        assert record.images == (jpeg(number),) and record.meta["group"] == str(number)
        assert record.instruction == f"{record.language} {number}"
        assert record.meta["origin"] == f"vqa-v2_val_{record.language}.jsonl:{number + 1}"
    assert {record.language for record in records} == {"zh", "ast"}
    assert {record.source for record in records} == {"m3it-80-vqa-v2"}


def test_each_task_is_a_source(folder):
    order = interchange.order("m3it-80", interchange.Request((folder,)), folder)
    assert [(spec.name, spec.task) for spec in order.specs] == [
        ("m3it-80-vist", "generation"),
        ("m3it-80-vqa-v2", "vqa"),
    ]


def test_a_row_without_picture_and_a_bad_picture_are_told(folder, imported, lines, text_of):
    rows = [{"instruction": "i", "input": "", "output": "o"}] * 4
    lines(folder / "vqa-v2" / "vqa-v2_val_zh.jsonl", *rows)
    (folder / "vqa-v2" / "vqa-v2_val_ast.jsonl").unlink()
    lines(folder / "vqa-v2" / "val_500.jsonl", {"image": text_of(1)}, {"image": "***"}, {})
    found, rejected = imported("m3it-80", folder / "vqa-v2")
    assert len(found["validation"]) == 1
    assert [row.reason for row in rejected] == ["bad-base64", "no-image", "picture-missing"]
    assert [row.place for row in rejected] == [f"vqa-v2_val_zh.jsonl:{n}" for n in (2, 3, 4)]


def test_unknown_languages_and_lacking_pictures_are_told(folder, tmp_path):
    (folder / "vist" / "vist_val_xx.jsonl").write_text("{}\n")
    with pytest.raises(errors.UserError, match="none of the 80"):
        m3it_80.specs(interchange.Request((folder,)))
    (folder / "vist" / "vist_val_xx.jsonl").unlink()
    (folder / "vist" / "val_500.jsonl").unlink()
    with pytest.raises(errors.UserError, match="pictures' file"):
        m3it_80.specs(interchange.Request((folder,)))
    with pytest.raises(errors.UserError, match="<language>"):
        m3it_80.specs(interchange.Request((folder / "instructions" / "zh.jsonl",)))


@pytest.mark.parametrize("end", ["", "\n"])
def test_lines_are_found_by_their_begin(tmp_path, end):
    rows = [json.dumps({"a": n}) for n in range(4)]
    file = tmp_path / "rows"
    file.write_text("\n".join(rows) + end)
    starts = m3it_80._line_starts(file)
    content = file.read_bytes()
    assert [content[start:].split(b"\n")[0].decode() for start in starts] == rows
