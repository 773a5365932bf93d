import dataclasses
import json
import os
import tracemalloc

import pytest

from m3it_jax import errors
from m3it_jax.dataset_building import sources
from m3it_jax.dataset_building.publishers import raw, video
from m3it_jax.dataset_building.specification import Rejected, RowError

SPEC = dataclasses.replace(sources.load("coco"), name="toys")


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "raw" / "toys"
    root.mkdir(parents=True)
    (tmp_path / "secret.txt").write_text("secret")
    return root


@pytest.fixture
def files(folder):
    return raw.RawFolder(SPEC, {"toys": folder})


@pytest.mark.parametrize("name", ["../../secret.txt", "/etc/passwd", "a/../../../secret.txt", "", "a\0b", "\ud800"])
def test_no_name_leads_out_of_the_raw_folder(files, name):
    with pytest.raises(RowError) as caught:
        files.picture(name).read(video.uniform)
    assert caught.value.reason == "path-outside"


def test_no_link_leads_out_of_the_raw_folder(files, folder, tmp_path):
    (folder / "a.jpg").symlink_to(tmp_path / "secret.txt")
    (folder / "out").symlink_to(tmp_path)
    for name in ("a.jpg", "out/secret.txt"):
        with pytest.raises(RowError, match="leads out"):
            files.picture(name).read(video.uniform)


def test_a_link_within_the_raw_folder_is_followed(files, folder):
    (folder / "a.jpg").write_bytes(b"picture")
    (folder / "b.jpg").symlink_to("a.jpg")
    assert files.picture("b.jpg").read(video.uniform) == (b"picture",)


@pytest.mark.parametrize("name", ["none.jpg", "x" * 300])
def test_a_missing_picture_is_told(files, name):
    with pytest.raises(RowError) as caught:
        files.picture(name).read(video.uniform)
    assert caught.value.reason == "picture-missing"


def test_a_picture_that_is_too_large_is_not_read(files, folder):
    with open(folder / "a.jpg", "wb") as file:
        file.truncate(raw.MAX_PICTURE_BYTES + 1)
    with pytest.raises(RowError) as caught:
        files.picture("a.jpg").read(video.uniform)
    assert caught.value.reason == "picture-too-large"


def test_a_borrowed_folder_is_looked_into_second(folder, tmp_path):
    spec = dataclasses.replace(SPEC, published=dataclasses.replace(SPEC.published, borrows=("coco",)))
    other = tmp_path / "raw" / "coco"
    other.mkdir()
    (other / "a.jpg").write_bytes(b"theirs")
    (other / "b.jpg").write_bytes(b"theirs")
    (folder / "b.jpg").write_bytes(b"ours")
    files = raw.RawFolder(spec, {"toys": folder, "coco": other})
    assert [files.picture(name).read(video.uniform) for name in ("a.jpg", "b.jpg")] == [(b"theirs",), (b"ours",)]


def test_damaged_lines_are_named_and_the_next_go_on(files, folder):
    (folder / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\n{"a": \n{"a": 3}')
    rows = list(files.json_lines("a.jsonl"))
    assert rows[0] == ("a.jsonl:1", {"a": 1}) and rows[2] == ("a.jsonl:4", {"a": 3})
    assert isinstance(rows[1], Rejected) and (rows[1].place, rows[1].reason) == ("a.jsonl:3", "not-json")


def test_a_line_that_is_too_long_is_one_bad_row(files, folder, monkeypatch):
    monkeypatch.setattr(raw, "MAX_LINE_BYTES", 100)
    (folder / "a.jsonl").write_text('{"a": "' + "x" * 1000 + '"}\n{"a": 2}\n')
    rows = list(files.json_lines("a.jsonl"))
    assert isinstance(rows[0], Rejected) and rows[1:] == [("a.jsonl:2", {"a": 2})]


def test_a_damaged_file_is_told_in_one_line(files, folder):
    (folder / "a.json").write_text("[1, 2")
    with pytest.raises(errors.UserError, match=r"a\.json: cannot be read .*get the file again"):
        files.json("a.json")
    with pytest.raises(errors.UserError, match=r"toys/b\.json: is missing; `m3it sources toys`"):
        files.json("b.json")
    (folder / "c.txt").write_bytes(b"fine\n\xff\xfe\n")
    with pytest.raises(errors.UserError, match=r"c\.txt:2: is no UTF-8"):
        list(files.lines("c.txt"))


def test_tables_keep_quotes_in_tab_separated_texts(files, folder):
    (folder / "a.tsv").write_text('id\ttext\n1\tsay "hi\n')
    assert list(files.table("a.tsv", delimiter="\t")) == [("a.tsv:2", {"id": "1", "text": 'say "hi'})]
    (folder / "b.csv").write_text('id,text\n1,"a, b"\n')
    assert list(files.table("b.csv")) == [("b.csv:2", {"id": "1", "text": "a, b"})]


@pytest.mark.parametrize(
    ("row", "kind", "reason"),
    [({}, str, "missing-field"), ({"a": None}, str, "missing-field"), ({"a": 1}, str, "wrong-type"),
     ({"a": True}, int, "wrong-type"), ([], str, "wrong-type")],
)  # fmt: skip
def test_a_field_of_another_kind_is_told(row, kind, reason):
    with pytest.raises(RowError) as caught:
        raw.field(row, "a", kind)
    assert caught.value.reason == reason


def test_the_inventory_changes_with_the_files(folder):
    assets = {"toys": folder}
    assert raw.inventory(SPEC, assets) == []
    (folder / "dataset_coco.json").write_text("{}")
    os.makedirs(folder / "train2014")
    (folder / "train2014" / "a.jpg").write_bytes(b"12345")
    first = raw.inventory(SPEC, assets)
    assert [(each["path"], each["files"], each["bytes"]) for each in first] == [
        ("toys/dataset_coco.json", 1, 2),
        ("toys/train2014/", 1, 5),
    ]
    (folder / "train2014" / "a.jpg").write_bytes(b"1234")
    assert raw.inventory(SPEC, assets)[1]["sha256"] != first[1]["sha256"]
    assert raw.missing(SPEC, assets) == ["toys/val2014/"]
    assert raw.missing(SPEC, {}) == ["toys/dataset_coco.json", "toys/train2014/", "toys/val2014/"]


ROWS = [{"id": number, "text": 'a " [1, 2] é ' * 3, "more": {"rows": [number]}} for number in range(50)]


@pytest.mark.parametrize("chunk", [1, 7, 64, 1 << 20])
@pytest.mark.parametrize("indent", [None, 2])
def test_lists_and_objects_are_read_one_value_at_a_time(files, folder, monkeypatch, chunk, indent):
    monkeypatch.setattr(raw, "_CHUNK", chunk)
    named = {"info": {"row": '"rows": [0]', 'x "rows': [0]}, "rows": ROWS, "after": [1]}
    (folder / "named.json").write_text(json.dumps(named, indent=indent), "utf-8-sig")
    (folder / "bare.json").write_text(json.dumps(ROWS, indent=indent, ensure_ascii=False))
    (folder / "members.json").write_text(json.dumps({f"k {row['id']}\n": row for row in ROWS}, indent=indent))
    assert list(files.json_elements("named.json", "rows")) == [
        (f"named.json: rows[{row['id']}]", row) for row in ROWS
    ]  # fmt: skip
    assert [row for _, row in files.json_elements("named.json", "after")] == [1]
    assert [row for _, row in files.json_elements("bare.json")] == ROWS
    assert dict(files.json_members("members.json")) == {f"k {row['id']}\n": row for row in ROWS}


@pytest.mark.parametrize(
    ("text", "rows"), [("[]", []), ("[ ]", []), ("[12]", [12]), ("[1, -2.5e3 ,null]", [1, -2500.0, None])]
)
def test_short_lists_are_read(files, folder, monkeypatch, text, rows):
    monkeypatch.setattr(raw, "_CHUNK", 1)  # a number may be cut off anywhere
    (folder / "a.json").write_text(text)
    (folder / "b.json").write_text(f'{{"rows" : {text}}}')
    assert [row for _, row in files.json_elements("a.json")] == rows
    assert [row for _, row in files.json_elements("b.json", "rows")] == rows


@pytest.mark.parametrize(
    "text",
    ["", "{}", '{"row": []}', '{"rows": 3}', '{"rows": [1, 2', '{"rows": [1 2]}', '{"rows": [{]}', '{"rows": [1,]}',
     '{"rows": [' + "[" * 100_000, '{"rows": ["' + "x" * 3000 + '"]}'],
)  # fmt: skip
def test_a_damaged_list_is_told_in_one_line(files, folder, monkeypatch, text):
    monkeypatch.setattr(raw, "_CHUNK", 500)
    monkeypatch.setattr(raw, "MAX_LINE_BYTES", 2000)
    (folder / "a.json").write_text(text)
    with pytest.raises(errors.UserError, match="cannot be read .*; get the file again") as caught:
        list(files.json_elements("a.json", "rows"))
    assert "\n" not in str(caught.value)


def test_a_list_is_not_held_in_memory(files, folder):
    with open(folder / "a.json", "w") as file:
        file.write('{"rows": [' + ",".join(json.dumps({"id": n, "text": "x" * 1000}) for n in range(20_000)) + "]}")
    tracemalloc.start()
    assert sum(1 for _ in files.json_elements("a.json", "rows")) == 20_000
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 8 * raw._CHUNK < (folder / "a.json").stat().st_size
