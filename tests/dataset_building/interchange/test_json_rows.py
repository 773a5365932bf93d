import gzip
import json
import random
import string

import pytest

from m3it_jax import errors
from m3it_jax.dataset_building.interchange import json_rows
from m3it_jax.dataset_building.specification import Rejected, RowError

LONG = string.ascii_letters * 200  # above the length from which texts are lifted


def told(path, **options):
    return [(row.place, row.reason) if isinstance(row, Rejected) else row for row in json_rows.rows(path, **options)]


def as_text(value):
    if isinstance(value, bytes):
        return value.decode()
    if isinstance(value, dict):
        return {key: as_text(each) for key, each in value.items()}
    return [as_text(each) for each in value] if isinstance(value, list) else value


@pytest.mark.parametrize(
    "value",
    [
        {"image": LONG, "question": "what?", "meta": {"a": [1, 2.5, None, True]}},
        {"image": [LONG, "short", LONG[::-1]], "question": f'he said "{LONG}" and left'},
        {"question": LONG, "image": "data:image/png;base64," + LONG},
        {"a": list(range(5000)), "image": LONG, "b": "lifted0;", "lifted": "lifted"},
        {LONG: "a long key", "image": LONG},
        {"image": LONG + "\\" + LONG, "tab": "\t"},
        [LONG, {"image": LONG}],
        {"q": '""' * 3000, "image": LONG},
    ],
)
def test_lifting_changes_nothing(value):
    for line in (json.dumps(value), json.dumps(value, separators=(",", ":")), json.dumps(value, indent=1)):
        line = line.replace("\n", " ").encode()
        assert as_text(json_rows.parse(line, lifted=("image",))) == value


def test_lifting_agrees_with_the_standard_library_on_random_rows():
    dice = random.Random(0)
    alphabet = 'abc "\\/{}[]:,é漢\u2028\x7f+'
    for _ in range(300):
        texts = ["".join(dice.choice(alphabet) for _ in range(dice.choice((3, 40)))) for _ in range(4)]
        texts += [LONG[: dice.randrange(4000, 9000)], dice.choice(texts) + LONG, LONG + dice.choice(texts)]
        dice.shuffle(texts)
        value = {"image": texts[:2], "x": {texts[2]: texts[3:]}}
        line = json.dumps(value, ensure_ascii=dice.random() < 0.5).encode()
        assert as_text(json_rows.parse(line, lifted=("image",))) == value


def test_only_what_was_asked_for_comes_as_bytes():
    value = json_rows.parse(json.dumps({"image": LONG, "answer": LONG}).encode(), lifted=("image",))
    assert value == {"image": LONG.encode(), "answer": LONG}


def test_a_text_cannot_pass_for_a_lifted_one():
    # The second text spells how the place of a lifted one is marked.
    line = b'{"image": "' + LONG.encode() + b'", "answer": "\\u006cifted0;"}'
    assert json_rows.parse(line, lifted=("image", "answer"))["answer"] in ("lifted0;", b"lifted0;")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"a": 1', "not-json"),
        (b'{"a": NaN}', "not-json"),
        (b'{"a": Infinity}', "not-json"),
        (b'{"a": 1, "a": 2}', "duplicate-key"),
        (b'{"b": [{"a": 1, "a": 1}]}', "duplicate-key"),
        (b'{"a": "\xff"}', "not-utf8"),
        (b'{"a": "\xed\xa0\x80"}', "not-utf8"),
        (b"[" * 100_000, "too-deep"),
        (b"[" * 100 + b"]" * 100, "too-deep"),
        (b'{"a": ' + b"9" * 5000 + b"}", "not-json"),
        (b'{"a": "' + LONG.encode() + b'\x01"}', "not-json"),
        (b'{"image": "' + LONG.encode() + b'" "b": 1}', "not-json"),
        (b'{"image": ' + LONG.encode() + b'"}', "not-json"),
    ],
)
def test_what_is_wrong_with_a_line_is_told(line, reason):
    with pytest.raises(RowError) as caught:
        json_rows.parse(line, lifted=("image",))
    assert caught.value.reason == reason


def test_places_count_all_lines_and_ends_may_be_mixed(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b'\xef\xbb\xbf{"a": 1}\r\n\n{"a": 2}\r{"a": 3}\n\xef\xbb\xbf{"a": 4}\nnonsense\n{"a": 5}')
    assert told(file) == [
        ("rows.jsonl:1", {"a": 1}),
        ("rows.jsonl:3", {"a": 2}),
        ("rows.jsonl:4", {"a": 3}),
        ("rows.jsonl:5", {"a": 4}),
        ("rows.jsonl:6", "not-json"),
        ("rows.jsonl:7", {"a": 5}),
    ]


def test_a_line_above_the_bound_is_skipped_and_never_held(tmp_path, monkeypatch):
    monkeypatch.setattr(json_rows, "MAX_LINE_BYTES", 1000)
    monkeypatch.setattr(json_rows, "_CHUNK", 100)
    file = tmp_path / "rows.jsonl"
    file.write_bytes(b'{"a": 1}\n' + b"x" * 50_000 + b'\n{"a": 2}\n' + b"y" * 1001)
    assert told(file) == [
        ("rows.jsonl:1", {"a": 1}),
        ("rows.jsonl:2", "line-too-long"),
        ("rows.jsonl:3", {"a": 2}),
        ("rows.jsonl:4", "line-too-long"),
    ]


@pytest.mark.parametrize("chunk", [1, 7, 1 << 20])
def test_an_array_is_read_element_by_element(tmp_path, monkeypatch, chunk):
    monkeypatch.setattr(json_rows, "_CHUNK", chunk)
    file = tmp_path / "rows.json"
    rows = '\ufeff [ {"a": 1, "b": "],é"} ,\n{"a": 2, "a": 3}, 12345, {"a": NaN}, {"a": ['
    file.write_text(rows + "7," * 50 + "8]} ] ")
    found = told(file)
    assert found[0] == ("rows.json[0]", {"a": 1, "b": "],é"})
    assert found[1:4] == [("rows.json[1]", "duplicate-key"), ("rows.json[2]", 12345), ("rows.json[3]", "not-json")]
    assert found[4] == ("rows.json[4]", {"a": [7] * 50 + [8]}) and len(found) == 5


def test_an_empty_array_has_no_row(tmp_path):
    file = tmp_path / "rows.json"
    file.write_text("[ ]")
    assert told(file) == []


@pytest.mark.parametrize("content", ['[{"a": 1}, {"a": ', '[{"a": 1} {"a": 2}]', '[{"a": 1},, 2]', "[" * 100_000])
def test_a_broken_array_is_told_in_one_line(tmp_path, content):
    file = tmp_path / "rows.json"
    file.write_text(content)
    with pytest.raises(errors.UserError, match="rows.json.*mend or get the file again"):
        list(json_rows.rows(file))


def test_an_element_above_the_bound_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(json_rows, "MAX_LINE_BYTES", 1000)
    monkeypatch.setattr(json_rows, "_CHUNK", 100)
    file = tmp_path / "rows.json"
    file.write_text(json.dumps([{"a": "x" * 50_000}]))
    with pytest.raises(errors.UserError, match="longer than 1000"):
        list(json_rows.rows(file))


def test_arrays_that_follow_each_other_are_one(tmp_path):
    file = tmp_path / "rows.json"
    file.write_text('\ufeff[{"a": 1}, {"a": 2}]\n[]\n[{"a": 3}]\n')
    assert told(file) == [("rows.json[0]", {"a": 1}), ("rows.json[1]", {"a": 2}), ("rows.json[2]", {"a": 3})]


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('[{"a": 1}]\n{"a": 2}', r"has '{' in place of '\[', .* at line 2, column 1 \(byte 11\)"),
        (
            '[{"é": 1},\n {"a" 2}]',
            r"rows.json\[1\] is no JSON \(Expecting ':' delimiter\) at line 2, column 7 \(byte 18\)",
        ),
        (
            '{"version": 1, "data": [{"a": 1}]}',
            r"its rows in a list under 'data'; give that list alone: jq -c '.\[\"data\"\]",
        ),
        ('{\n  "info": {},\n  "data": [\n    {"a": 1}\n]}', "its rows in a list under 'data'"),
        ('{"1": {"a": 1}, "2": {"a": 2}}', r"a row under each name; give the rows alone: jq -c '.\[\]' rows.json"),
        ('{\n  "1": {"a": 1}\n}', "a row under each name"),
        ('{\n  "a": 1\n}', "one JSON object over many lines"),
    ],
)
def test_another_form_is_named_with_its_place(tmp_path, content, words):
    (tmp_path / "rows.json").write_text(content)
    with pytest.raises(errors.UserError, match=words):
        told(tmp_path / "rows.json")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ('[{"a": 1}]'.encode("utf-16"), "is UTF-16 text; save it as UTF-8: iconv"),
        ('[{"a": 1}]'.encode("utf-16-be"), "is UTF-16 text"),
        (gzip.compress(b"[]", mtime=0), "is packed with gzip; unpack it: gunzip"),
        (b"PAR1....", "is a Parquet file; use format parquet"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a pointer of Git LFS"),
        (b'[{"a": "\xff"}]', "is no UTF-8 from byte 8 on"),
    ],
)
def test_what_is_no_json_is_named_for_what_it_is(tmp_path, content, words):
    (tmp_path / "rows.json").write_bytes(content)
    with pytest.raises(errors.UserError, match=words):
        told(tmp_path / "rows.json")


def test_one_row_is_no_wrapping_and_a_cut_first_line_is_one_row(tmp_path):
    file = tmp_path / "rows.jsonl"
    file.write_text('{"conversations": [{"from": "human"}], "image": "0.jpg"}\n')
    assert told(file) == [("rows.jsonl:1", {"conversations": [{"from": "human"}], "image": "0.jpg"})]
    file.write_text('{"a": [1, \n{"a": 2}\n{"image": "' + LONG + '", "a" 3}\n')
    assert told(file, lifted=("image",)) == [
        ("rows.jsonl:1", "not-json"),
        ("rows.jsonl:2", {"a": 2}),
        ("rows.jsonl:3", "not-json"),
    ]
    *_, last = json_rows.rows(file, lifted=("image",))
    assert last.text == f"column {len(LONG) + 19}: Expecting ':' delimiter, there stands '3}}'"
