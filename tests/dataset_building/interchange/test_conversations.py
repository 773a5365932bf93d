import base64
import collections
import json

import pytest

from m3it_jax import errors, records, schema
from m3it_jax.cli.main import main
from m3it_jax.dataset_building import interchange
from m3it_jax.dataset_building.inspection import statistics


@pytest.fixture
def folder(tmp_path, jpeg):
    (tmp_path / "coco").mkdir()
    for number in range(3):
        (tmp_path / "coco" / f"{number}.jpg").write_bytes(jpeg(number))
    (tmp_path / "secret.jpg").write_bytes(jpeg(9))
    (tmp_path / "coco" / "link.jpg").symlink_to(tmp_path / "secret.jpg")
    return tmp_path / "coco"


def said(*turns: str) -> list[dict]:
    return [{"from": ("human", "gpt")[n % 2], "value": text} for n, text in enumerate(turns)]


def test_a_conversation_becomes_one_record_that_ends_with_its_last_answer(imported, tmp_path, folder, jpeg):
    rows = [
        {"id": "7", "image": "0.jpg", "conversations": said("<image>\nWhat is it?", "A ball.", "Which colour?", "Red.")}
    ]
    (tmp_path / "llava.json").write_text(json.dumps(rows))
    found, rejected = imported("llava", tmp_path / "llava.json", images=folder)
    (record,) = found["train"]
    assert rejected == [] and record.images == (jpeg(0),)
    assert (record.instruction, record.inputs, record.outputs) == ("Which colour?", "", "Red.")
    assert record.meta["turns"] == [{"instruction": "What is it?", "outputs": "A ball."}]
    assert record.meta["group"] == "0.jpg" and record.meta["conversation"] == "7"
    assert record.meta["licence"] == "unknown"


def test_ten_turns_about_a_picture_store_it_once(imported, tmp_path, folder, lines, jpeg):
    talk = said("<image>\nWhat is it?", "A ball.", *(f"{word} {n}?" for n in range(9) for word in ("Why", "So")))
    row = {"image": "0.jpg", "conversations": talk}
    again = {"image": "0.jpg", "conversations": [*talk[:-1], {"from": "gpt", "value": "otherwise"}]}
    earlier = {"image": "0.jpg", "conversations": [*talk[:1], {"from": "gpt", "value": "otherwise"}, *talk[2:]]}
    found, rejected = imported("llava", lines(tmp_path / "rows.jsonl", row, again, earlier), images=folder)
    first = found["train"][0]
    assert not rejected and first.images == (jpeg(0),) and len(first.meta["turns"]) == 9
    assert len({record.id for record in found["train"]}) == 3, "what was said before belongs to what a record is"


@pytest.mark.parametrize(
    ("text", "told", "changes"),
    [
        ("<image>\nWhat is it?", "What is it?", None),
        ("What is it?\n<image>", "What is it?", ["picture moved from behind a text to before it"]),
        ("See <image>, then say.", "See image 1, then say.", ["places of pictures named in the text"]),
    ],
)
def test_a_picture_keeps_its_place_in_words(imported, tmp_path, folder, lines, text, told, changes):
    path = lines(tmp_path / "rows.jsonl", {"image": "0.jpg", "conversations": said(text, "a")})
    (record,) = imported("llava", path, images=folder)[0]["train"]
    assert record.instruction == told and record.meta.get("changes") == changes


def test_pictures_are_numbered_through_the_conversation(imported, tmp_path, folder, lines, jpeg):
    turns = said("<image>\nBefore: <image>\nWhat changed?", "All.", "And in <image>, here: <image>", "Nothing.")
    path = lines(tmp_path / "rows.jsonl", {"image": ["0.jpg", "1.jpg", "2.jpg", "0.jpg"], "conversations": turns})
    (record,) = imported("llava", path, images=folder)[0]["train"]
    assert record.images == (jpeg(0), jpeg(1), jpeg(2), jpeg(0))
    first, second = schema.turns_of(record)
    assert (first.instruction, first.new_pictures) == ("Before: image 2\nWhat changed?", 2)
    assert (second.instruction, second.new_pictures) == ("And in image 3, here:", 2)


BAD = {
    "path-outside": {"image": "../secret.jpg", "conversations": said("q", "a")},
    "picture-missing": {"image": "9.jpg", "conversations": said("q", "a")},
    "no-image": {"picture": "0.jpg", "conversations": said("q", "a")},
    "no-question": {"image": "0.jpg", "conversations": [{"from": "gpt", "value": "a"}]},
    "no-answer": {"image": "0.jpg", "conversations": said("q")},
    "unknown-role": {"image": "0.jpg", "conversations": [{"from": "judge", "value": "a"}]},
    "placeholder-count": {"image": "0.jpg", "conversations": said("<image><image> q", "a")},
    "missing-field": {"image": "0.jpg", "conversations": [{"from": "human"}]},
    "wrong-type": {"image": "0.jpg", "conversations": "q"},
    "empty-output": {"image": "0.jpg", "conversations": said("q", " ", "r", "b")},
    "mojibake": {"image": "0.jpg", "conversations": said("q", "ein gro\u00c3\u0178er Ball", "r", "b")},
}


@pytest.mark.parametrize("reason", BAD)
def test_bad_rows_are_named(imported, tmp_path, folder, lines, reason):
    good = {"image": "1.jpg", "conversations": said("q", "a")}
    path = lines(tmp_path / "rows.jsonl", BAD[reason], good)
    found, rejected = imported("llava", path, images=folder)
    assert len(found["train"]) == 1 and [row.reason for row in rejected] == [reason]
    assert rejected[0].place.startswith("rows.jsonl:1")


def test_a_link_out_of_the_folder_is_not_followed(imported, tmp_path, folder, lines):
    path = lines(tmp_path / "rows.jsonl", {"image": "link.jpg", "conversations": said("q", "a")})
    assert [row.reason for row in imported("llava", path, images=folder)[1]] == ["path-outside"]


def test_messages_bring_their_pictures_where_they_are_shown(imported, tmp_path, lines, text_of, jpeg):
    url = f"data:image/jpeg;base64,{text_of(1)}"
    row = {
        "messages": [
            {"role": "system", "content": "Be short."},
            {
                "role": "user",
                "content": [{"type": "text", "text": "What?"}, {"type": "image_url", "image_url": {"url": url}}],
            },
            {"role": "assistant", "content": "One."},
            {"role": "user", "content": [{"type": "image", "image": text_of(2)}, {"type": "text", "text": "And now?"}]},
            {"role": "assistant", "content": [{"type": "text", "text": "Two."}]},
        ]
    }
    remote = {
        "messages": [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a"}],
        "image": "https://x/y",
    }
    odd = {"messages": [{"role": "user", "content": [{"type": "audio", "audio": ""}]}]}
    found, rejected = imported("messages", lines(tmp_path / "train.jsonl", row, remote, odd))
    (record,) = found["train"]
    assert record.images == (jpeg(1), jpeg(2)) and record.meta["system"] == "Be short."
    assert schema.turns_of(record) == (schema.Turn("What?", "", "One.", 1), schema.Turn("And now?", "", "Two.", 1))
    assert [row.reason for row in rejected] == ["picture-remote", "unsupported-part"]


def test_llava_needs_the_folder_of_its_pictures(tmp_path, lines):
    path = lines(tmp_path / "rows.jsonl", {})
    with pytest.raises(errors.UserError, match="give --images FOLDER"):
        interchange.order("llava", interchange.Request((path,)), tmp_path / "out")
    with pytest.raises(errors.UserError, match="no such folder"):
        interchange.order("llava", interchange.Request((path,), images=tmp_path / "none"), tmp_path / "out")


def test_a_broken_array_is_told_with_its_place(imported, tmp_path, folder, text_of):
    assert base64.b64decode(text_of(0))
    (tmp_path / "llava.json").write_text('[{"image": "0.jpg", "conversations": []}, {"image": ')
    with pytest.raises(errors.UserError, match=r"llava.json: .*llava.json\[1\]"):
        imported("llava", tmp_path / "llava.json", images=folder)


def test_rows_of_the_other_format_name_it(tmp_path, folder, lines):
    path = lines(tmp_path / "rows.jsonl", {"image": "0.jpg", "conversations": said("q", "a")})
    with pytest.raises(errors.UserError, match="its rows have 'conversations': use `m3it import llava`"):
        interchange.order("messages", interchange.Request((path,)), tmp_path / "out")
    path = lines(tmp_path / "rows.jsonl", {"image": "0.jpg", "messages": []})
    with pytest.raises(errors.UserError, match="its rows have 'messages': use `m3it import messages`"):
        interchange.order("llava", interchange.Request((path,), images=folder), tmp_path / "out")


def talk(question="What is two plus two?", answer="Four."):
    return [{"from": "human", "value": question}, {"from": "gpt", "value": answer}]


TEXT = {"no field": {}, "null": {"image": None}, "empty list": {"images": []}}
# An image field that is there and holds nothing is a picture that got lost.
LOST = {"empty text": {"image": ""}, "empty object": {"image": {}}, "list of nothing": {"images": [None]}}


@pytest.mark.parametrize("form", ["llava", "messages"])
@pytest.mark.parametrize("name", TEXT)
def test_rows_that_say_so_are_text_alone(imported, tmp_path, lines, form, name):
    messages = [{"role": role, "content": "words"} for role in ("user", "assistant")]
    row = {"conversations": talk()} if form == "llava" else {"messages": messages}
    path = lines(tmp_path / "rows.jsonl", row | TEXT[name])
    found, rejected = imported(form, path)
    (record,) = found["train"]
    assert record.images == () and record.meta["text_only"] is True and not rejected
    assert "group" not in record.meta and not list(schema.problems(record))


@pytest.mark.parametrize("name", LOST)
def test_an_empty_field_is_a_lost_picture(imported, tmp_path, lines, name):
    path = lines(tmp_path / "rows.jsonl", {"conversations": talk(), **LOST[name]}, {"conversations": talk()})
    found, rejected = imported("llava", path, images=tmp_path)
    assert len(found["train"]) == 1 and [row.reason for row in rejected] == ["no-image"]


def test_a_mark_without_its_picture_is_refused(imported, tmp_path, lines):
    path = lines(tmp_path / "rows.jsonl", {"conversations": talk("<image>\nWhat?")}, {"conversations": talk()})
    assert [row.reason for row in imported("llava", path, images=tmp_path)[1]] == ["placeholder-count"]


def test_llava_needs_no_folder_if_its_rows_are_text(tmp_path, lines):
    text = {"conversations": talk()}
    path = lines(tmp_path / "rows.jsonl", text, text)
    assert interchange.order("llava", interchange.Request((path,)), tmp_path / "out").specs
    path = lines(tmp_path / "rows.jsonl", text, {**text, "image": "0.jpg"})
    with pytest.raises(errors.UserError, match="give --images FOLDER"):
        interchange.order("llava", interchange.Request((path,)), tmp_path / "out")


def parquet(path, rows, columns):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet as pq

    pq.write_table(pa.Table.from_pylist(rows, pa.schema(columns)), path)
    return path


def test_parquet_rows_may_be_text_alone(imported, tmp_path, jpeg):
    pa = pytest.importorskip("pyarrow")
    picture = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    rows = [
        {"images": [{"bytes": jpeg(0), "path": None}], "question": "What?", "answer": "A picture."},
        {"images": None, "question": "Two and two?", "answer": "Four."},
        {"images": [], "question": "Three and three?", "answer": "Six."},
        {"images": [None], "question": "Lost?", "answer": "Yes."},
        {"images": None, "question": "<image> What?", "answer": "None."},
    ]
    columns = {"images": pa.list_(picture), "question": pa.string(), "answer": pa.string()}
    found, rejected = imported("parquet", parquet(tmp_path / "rows.parquet", rows, columns))
    assert [len(record.images) for record in found["train"]] == [1, 0, 0]
    assert [row.reason for row in rejected] == ["no-image", "placeholder-count"]


def test_a_record_says_that_it_has_no_picture(tiny, jpeg):
    def reasons(images, **meta):
        return [code for code, _ in schema.problems(tiny.instance("ones", 0, images=images, meta=meta))]

    assert reasons((), text_only=True) == [] and reasons((jpeg(0),)) == []
    assert reasons(()) == ["no-image"] and reasons((jpeg(0),), text_only=True) == ["bad-meta"]
    assert reasons((), text_only="yes") == ["no-image", "bad-meta"] and "bad-meta" in reasons((), text_only=False)


@pytest.mark.parametrize("form", ["jsonl", "parquet"])
def test_a_mixed_folder_goes_out_and_comes_back(tmp_path, capsys, lines, jpeg, form):
    for number in range(4):
        (tmp_path / "pictures").mkdir(exist_ok=True)
        (tmp_path / "pictures" / f"{number}.jpg").write_bytes(jpeg(number))
    rows = [{"image": f"{n}.jpg", "conversations": talk(f"<image>\nWhat is {n}?")} for n in range(4)]
    rows += [{"conversations": talk(f"What is {number} plus two?", f"{number + 2}")} for number in range(6)]
    path, data = lines(tmp_path / "rows.jsonl", *rows), tmp_path / "data"
    given = ["--out", str(data), "--images", str(tmp_path / "pictures"), "--test-share", "0.5"]
    assert main(["import", "llava", str(path), *given]) == 0
    assert "6 of 10 records (60.0%) are text alone" in capsys.readouterr().err
    assert main(["check", str(data)]) == 0
    assert main(["stats", str(data), "--html", str(tmp_path / "stats.html")]) == 0
    told = capsys.readouterr().out
    assert "text alone in rows, train" in told and "text alone in rows, test" in told
    assert main(["browse", str(data), "--out", str(tmp_path / "pages")]) == 0
    assert main(["export", form, str(data), "--out", str(tmp_path / "out")]) == 0
    back = {"jsonl": "m3it", "parquet": "parquet"}[form]
    assert main(["import", back, str(tmp_path / "out"), "--out", str(tmp_path / "again")]) == 0
    before, after = (records.DataFolder.open(each) for each in (data, tmp_path / "again"))
    for split in ("train", "test"):
        first, second = before.table("rows", split), after.table("rows", split)
        assert [first.read(n) for n in range(len(first))] == [second.read(n) for n in range(len(second))]


def test_questions_asked_twice_stay_on_one_side(imported, tmp_path, lines):
    rows = [{"conversations": talk(f"Question {n % 20}?", f"Answer {n}")} for n in range(60)]
    order = interchange.order(
        "llava", interchange.Request((lines(tmp_path / "rows.jsonl", *rows),)), tmp_path / "out", shares={"test": 0.5}
    )
    sides = collections.defaultdict(set)
    for split in ("train", "test"):
        for draft in order.specs[0].drafts({}, split, 0):
            sides[draft.instruction].add(split)
    assert set(map(len, sides.values())) == {1} and {"train", "test"} == set.union(*sides.values())


def test_folders_without_such_rows_say_nothing_of_them(tiny):
    counted = statistics.Collector()
    counted.add(tiny.instance("ones", 0))
    assert "text_only" not in json.dumps(counted.summary())
