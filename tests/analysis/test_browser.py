"""The pages show what the records hold, and nothing that a record holds becomes part of a page."""

import dataclasses
import html.parser
import io
import itertools
import json
import pathlib
import re

import numpy as np
import pytest
from PIL import Image

from m3it_jax import errors, prompts, records, schema
from m3it_jax.analysis import browser, token_view
from m3it_jax.dataset_building import sources
from m3it_jax.dataset_building.writing import rejections
from m3it_jax.input_pipeline.rows import transforms

HOSTILE = "<script>alert(1)</script> </script> <img src=x onerror=alert(1)> \"'&"


def jpeg(size: tuple[int, int]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.full((*size[::-1], 3), 90, np.uint8)).save(buffer, "JPEG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def data(tiny, tmp_path_factory) -> records.DataFolder:
    path = tmp_path_factory.mktemp("data")
    texts = {"instruction": HOSTILE, "inputs": HOSTILE, "outputs": HOSTILE}
    meta = {"original_answer": "no " + HOSTILE, "boxes": [[1, 2, 3, 4]], "note": {HOSTILE: HOSTILE}}
    odd_ones = (
        texts | {"meta": meta},
        {"images": (jpeg((1500, 900)),)},
        {"images": (b"\x89PNG\r\n\x1a\n cut off",)},
        {"instruction": "word " * 600},
    )

    def named(source: str, number: int, **changes):
        instance = tiny.instance("ones", number, id=f"{source}-{number}", **changes)
        return dataclasses.replace(instance, source=source)

    talk = {"turns": [{"instruction": "What?" + HOSTILE, "outputs": "a picture"}], "system": "Be short."}
    odd = [named("odd", number, **changes) for number, changes in enumerate(odd_ones)]
    odd.append(named("odd", 4, meta=talk))
    odd.append(named("odd", 5, meta={"turns": [{"instruction": "What?"}]}))
    coco = [named("coco", number) for number in range(70)]
    folder = tiny.write_folder(path, {"odd": odd, "coco": coco})
    rows = [{"split": "train", "place": f"x.json: {n}", "reason": "bad-text", "text": HOSTILE} for n in range(30)]
    rejected = folder.source_path("odd") / rejections.REJECTED
    rejected.write_text("".join(json.dumps(row) + "\n" for row in rows))
    made = json.loads((folder.source_path("odd") / records.PROVENANCE).read_text()) | {"rejected": {"bad-text": 30}}
    (folder.source_path("odd") / records.PROVENANCE).write_text(json.dumps(made))
    return folder


@pytest.fixture(scope="module")
def pages(data, tmp_path_factory) -> pathlib.Path:
    out = tmp_path_factory.mktemp("pages")
    told = browser.write(browser.order(data, out, sources=[], limit=130))
    assert told["records"] == 12 + 130
    return out


def called(path: pathlib.Path, function: str) -> list:
    """Returns the arguments of the one call that a file of data consists of."""
    text = path.read_text(encoding="utf-8")
    assert text.startswith(f"{function}(") and text.endswith(");\n")
    return json.loads("[" + text[len(function) + 1 : -3] + "]")


def index(pages: pathlib.Path) -> list[dict]:
    return called(pages / "files" / "index.js", "browse.begin")[0]["records"]


def detail(pages: pathlib.Path, record_id: str) -> dict:
    number = next(place for place, record in enumerate(index(pages)) if record["id"] == record_id)
    chunk, details = called(pages / "files" / "records" / f"{number // browser.CHUNK}.js", "browse.details")
    assert chunk == number // browser.CHUNK
    return details[number % browser.CHUNK]


class Reader(html.parser.HTMLParser):
    """Collects the tags and the text of a page."""

    def __init__(self):
        super().__init__()
        self.tags, self.words = [], []

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        self.words.append(data)


def read(pages: pathlib.Path) -> Reader:
    reader = Reader()
    reader.feed((pages / browser.PAGE).read_text(encoding="utf-8"))
    return reader


def test_every_record_is_in_the_index_with_its_texts_and_pictures(data, pages):
    found = index(pages)
    assert [record["split"] for record in found if record["source"] == "odd"] == ["train"] * 6 + ["validation"] * 6
    table = data.table("coco", "train")
    shown = [record for record in found if (record["source"], record["split"]) == ("coco", "train")]
    for place, record in enumerate(shown):
        wanted = table.read(place)
        assert (record["id"], record["instruction"], record["inputs"], record["outputs"]) == (
            wanted.id,
            wanted.instruction,
            wanted.inputs,
            wanted.outputs,
        )
        stored = [(pages / "files" / "pictures" / picture["file"]).read_bytes() for picture in record["pictures"]]
        assert stored == list(wanted.images), "a small picture is shown as it is stored"
        assert detail(pages, record["id"])["meta"] == wanted.meta


def test_tokens_are_what_training_lays_out(data, pages):
    tokenizer = browser.order(data, pages, sources=[]).tokenizer
    wanted = data.table("coco", "train").read(5)
    layout = transforms.Layout.of(tokenizer, prompts.YING_VLM, picture_len=1, max_text_len=512, max_response_len=128)
    row = transforms.training_row(layout, tokenizer, schema.turns_of(wanted))
    found = detail(pages, wanted.id)
    assert [tuple(token) for token in found["tokens"]] == token_view.tokens(row, tokenizer)
    assert found["dropped"] == 0


def test_an_answer_before_paraphrase_stands_beside_the_new_one(pages):
    record = next(record for record in index(pages) if record["id"] == "odd-0")
    assert (record["before"], record["outputs"], record["boxes"]) == ("no " + HOSTILE, HOSTILE, 1)
    assert all("before" not in record for record in index(pages) if record["source"] == "coco")


def test_a_conversation_shows_its_turns_and_what_of_them_is_learned(data, pages):
    record = next(record for record in index(pages) if record["id"] == "odd-4")
    asked, answered = "What?" + HOSTILE, "a picture"
    assert [(turn["instruction"], turn["outputs"]) for turn in record["turns"]][0] == (asked, answered)
    assert (len(record["turns"]), record["turns"][0]["new_pictures"], record["system"]) == (2, 1, "Be short.")
    shown = detail(pages, "odd-4")["tokens"]
    runs = [kind for kind, _ in itertools.groupby(kind for kind, _ in shown)]
    assert runs == ["given", "picture", *["given", "learned"] * 2]
    assert "turns" not in next(record for record in index(pages) if record["id"] == "odd-0")
    assert "outputs is empty" in detail(pages, "odd-5")["problem"]


def test_a_large_picture_is_shown_smaller_and_tells_its_size(pages):
    picture = next(record for record in index(pages) if record["id"] == "odd-1")["pictures"][0]
    assert (picture["width"], picture["height"]) == (1500, 900)
    with Image.open(pages / "files" / "pictures" / picture["file"]) as shown:
        assert shown.size == (640, 384)


def test_a_broken_picture_and_an_instruction_that_is_too_long_are_told_and_nothing_stops(pages):
    broken = next(record for record in index(pages) if record["id"] == "odd-2")["pictures"][0]
    assert "cannot be decoded" in broken["problem"] and "0x" not in broken["problem"]
    assert "needs data.max_text_len" in detail(pages, "odd-3")["problem"]


def test_nothing_of_a_record_becomes_a_tag(pages):
    reader = read(pages)
    scripts = [attributes for tag, attributes in reader.tags if tag == "script"]
    assert scripts == [{"src": "files/browse.js"}, {"src": "files/index.js"}]
    assert not [tag for tag, attributes in reader.tags if any(name.startswith("on") for name in attributes)]
    assert not [tag for tag, _ in reader.tags if tag == "img"]
    assert HOSTILE in reader.words, "it is there, as text"


def test_the_page_loads_nothing_from_elsewhere_and_its_policy_says_so(pages):
    reader = read(pages)
    for tag, attributes in reader.tags:
        link = attributes.get("src") or (attributes.get("href") if tag == "link" else None)
        assert link is None or link.startswith("files/"), link
    policy = next(found["content"] for tag, found in reader.tags if "content-security" in str(found).lower())
    assert "default-src 'none'" in policy and "unsafe" not in policy and "http" not in policy
    for name in browser._STATIC:
        assert "http" not in (pages / "files" / name).read_text(encoding="utf-8")


def test_the_program_sets_texts_as_texts(pages):
    program = (pages / "files" / "browse.js").read_text(encoding="utf-8")
    assert not re.search(r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|eval\(|DOMParser", program)


def test_counts_stand_beside_the_papers(pages):
    published = sources.load("coco").published
    assert published is not None
    page = (pages / browser.PAGE).read_text(encoding="utf-8")
    row = page[page.index(">coco</a>") :]
    cells = re.findall(r'<td class="(number[^"]*)">([^<]*)</td>', row[: row.index("</tr>")])
    assert cells[:2] == [("number differs", "70"), ("number soft", f"{published.counts['train']:,}")]
    odd = page[page.index(">odd</a>") :]
    assert re.findall(r'<td class="(number[^"]*)">([^<]*)</td>', odd)[:2] == [("number", "6"), ("number soft", "-")]


def test_left_out_rows_are_counted_in_full_and_some_are_shown(pages):
    page = (pages / browser.PAGE).read_text(encoding="utf-8")
    assert '<code>bad-text</code> <span class="count">30</span>' in page
    assert page.count("<code>x.json: ") == browser.REJECTED_SHOWN


def test_a_damaged_list_of_left_out_rows_is_named(data, tmp_path):
    file = tmp_path / "rejected.jsonl"
    file.write_text('{"split": "train"}\n')
    with pytest.raises(errors.UserError, match=r"rejected\.jsonl:1: is no left-out row"):
        browser._rejected(file)


@pytest.mark.parametrize(
    ("counts", "limit", "wanted"),
    [
        ({"train": 100, "validation": 100, "test": 100}, 100, {"train": 33, "validation": 33, "test": 34}),
        ({"train": 100, "test": 5}, 20, {"train": 15, "test": 5}),
        ({"train": 3, "test": 2}, 20, {"train": 3, "test": 2}),
        ({"train": 30, "test": 0}, 20, {"train": 20}),
        ({"train": 9, "test": 9}, 1, {"train": 1}),
    ],
)
def test_a_limit_is_spread_over_the_splits(counts, limit, wanted):
    found = browser.shares(counts, limit)
    assert sum(found.values()) == sum(wanted.values()) and sorted(found.values()) == sorted(wanted.values())
    assert all(number <= counts[split] for split, number in found.items())


def test_pages_are_written_anew_in_place_of_old_ones(data, tmp_path):
    for limit in (8, 2):
        browser.write(browser.order(data, tmp_path / "pages", sources=["odd"], limit=limit))
    assert len(index(tmp_path / "pages")) == 2
    assert len(list((tmp_path / "pages" / "files" / "pictures").iterdir())) == 1
    assert not (tmp_path / "pages" / ".writing").exists()


def test_a_run_that_is_cut_off_leaves_no_page(data, tmp_path, monkeypatch):
    order = browser.order(data, tmp_path, sources=["odd"], limit=8)
    browser.write(order)
    with monkeypatch.context() as patch:
        patch.setattr("m3it_jax.file_safety.write_whole", lambda *arguments: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            browser.write(order)
    assert not (tmp_path / browser.PAGE).exists()
    browser.write(order)
    assert (tmp_path / browser.PAGE).exists()


def test_a_folder_with_something_else_is_left_alone(data, tmp_path):
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "mine.txt").write_text("mine")
    with pytest.raises(errors.UserError, match="holds files and is no folder of"):
        browser.write(browser.order(data, tmp_path, sources=[]))
    assert (tmp_path / "files" / "mine.txt").read_text() == "mine"


def test_the_same_data_give_the_same_pages(data, tmp_path):
    found = []
    for name in ("a", "b"):
        browser.write(browser.order(data, tmp_path / name, sources=["odd"]))
        files = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        found.append([(str(path.relative_to(tmp_path / name)), path.read_bytes()) for path in files])
    assert found[0] == found[1]


def test_without_a_tokenizer_the_pages_show_no_tokens(data, tmp_path):
    order = browser.order(data, tmp_path, sources=["odd"])
    browser.write(dataclasses.replace(order, tokenizer=None))
    assert "tokens" not in detail(tmp_path, "odd-0")
    assert "--tokenizer FILE" in (tmp_path / browser.PAGE).read_text()
