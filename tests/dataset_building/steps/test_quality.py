import collections
import dataclasses
import io
import json
import pathlib
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from m3it_jax import prompts, schema
from m3it_jax.dataset_building.steps import instructions, quality

# Texts as people write them, and damaged ones: sound texts misread, open slots, refusals.
ROOT = pathlib.Path(__file__).resolve().parents[3]
TEXTS = ROOT / "tests/fixtures/texts"
REASONS = {"mojibake": "mojibake", "slot": "broken-slot", "refusal": "apology"}


def encoded(kind="PNG", side=8, **options):
    file = io.BytesIO()
    noise = np.random.default_rng(0).integers(0, 255, (side, side, 3), np.uint8)
    Image.fromarray(noise).save(file, kind, **options)
    return file.getvalue()


def bomb(width, height):
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b"")]
    parts = [struct.pack(">I", len(d)) + n + d + struct.pack(">I", zlib.crc32(n + d)) for n, d in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_sound_picture_has_no_problem(kind):
    assert quality.picture_problem(encoded(kind)) is None


@pytest.mark.parametrize(("width", "height"), [(30_000, 30_000), (1, 2**31 - 1), (2**30, 2**30)])
def test_a_bomb_is_refused_by_its_header(width, height):
    assert quality.picture_problem(bomb(width, height))[0] == "picture-too-large"


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
@pytest.mark.parametrize("part", range(1, 16))
def test_a_cut_picture_is_refused(kind, part):
    data = encoded(kind, 40)
    assert quality.picture_problem(data[: len(data) * part // 16])[0] == "picture-unreadable"


@pytest.mark.parametrize("kind", ["GIF", "BMP", "TIFF", "WEBP"])
def test_other_formats_are_not_opened(kind):
    assert quality.picture_problem(encoded(kind))[0] == "picture-unreadable"


def test_problems_name_the_picture():
    record = schema.Instance("a-1", "a", "vqa", "en", "Look.", "", "yes", (encoded(), encoded()[:60]))
    assert [(code, text[:9]) for code, text in quality.problems(record)] == [("picture-unreadable", "images[1]")]
    assert not list(quality.problems(dataclasses.replace(record, images=record.images[:1])))


def test_broken_fields_are_told_before_pictures_are_opened():
    record = schema.Instance("a-1", "a", "vqa", "en", "", "", "yes", (encoded()[:60],))
    assert [code for code, _ in quality.problems(record)] == ["empty-instruction"]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"meta": {"options": ["cat", "dog"]}}, "answer-not-an-option"),
        ({"instruction": "Does [HYPO] follow?"}, "broken-slot"),
        ({"outputs": "Sorry, I cannot answer that."}, "apology"),
        ({"inputs": "CafÃ©?"}, "mojibake"),
    ],
)
def test_each_text_rule_has_its_reason(change, reason):
    record = schema.Instance("a-1", "a", "vqa", "en", "Look.", "", "yes", (encoded(),))
    assert [code for code, _ in quality.problems(dataclasses.replace(record, **change))] == [reason]


@pytest.mark.parametrize(
    ("instruction", "slot"),
    [
        ("Does [HYPO] follow?", "[HYPO]"),
        ("Translate the sentence from [SOURCE] into [TARGET].", "[SOURCE]"),
        ("What is the word behind the [MASK] token in the sign?", ""),
        ("Fill in [NAME] and [DATE] of this form.", ""),
        ("Which door leads to the [EXIT] or the [TARGET] store?", ""),
        ("Answer as [JSON].", ""),
    ],
)
def test_words_in_brackets_are_slots_where_the_bank_has_them(instruction, slot):
    assert quality.unfilled_slot(instruction) == slot


def test_every_instruction_of_the_bank_with_slots_is_known_as_unfilled():
    for name in ("classification/snli-ve", "generation/multi30k"):
        assert all(quality.unfilled_slot(text) for text in instructions.pool(name))
    half = [text.replace("[SOURCE]", "German") for text in instructions.pool("generation/multi30k")]
    assert all(quality.unfilled_slot(text) == "[TARGET]" for text in half)


def test_what_was_put_into_every_slot_may_look_like_one_of_another_kind():
    for name in ("classification/snli-ve", "generation/multi30k"):
        for text in instructions.pool(name):
            filled = prompts.SLOT.sub("the word [EXIT]", text)
            assert quality.unfilled_slot(filled) == "", filled


@pytest.fixture(scope="module")
def sound():
    """Returns (language, text) of texts as people write them; `\\n` in the file is a line break."""
    lines = (TEXTS / "sound.tsv").read_text("utf-8").split("\n")
    return [(line.split("\t")[0], line.split("\t")[1].replace("\\n", "\n")) for line in lines if line]


@pytest.fixture(scope="module")
def damaged():
    """Returns objects with kind, language and text: sound ones that were misread, open slots and refusals."""
    return [json.loads(line) for line in (TEXTS / "damaged.jsonl").read_text("utf-8").splitlines()]


def reasons(text, field):
    texts = {"instruction": "Look.", "inputs": "", "outputs": "yes"} | {field: text}
    record = schema.Instance("a-1", "a", "vqa", "en", texts["instruction"], texts["inputs"], texts["outputs"], (b"",))
    return [reason for reason, _ in quality.text_problems(record)]


def test_no_sound_text_is_left_out(sound):
    assert len({text for _, text in sound}) >= 300 and len({language for language, _ in sound}) >= 20
    fields = ("instruction", "inputs", "outputs")
    assert [(text, field) for _, text in sound for field in fields if reasons(text, field)] == []


def found(each):
    kind = each["kind"].split(",")[0]
    return REASONS[kind] in reasons(each["text"], "instruction" if kind == "slot" else "outputs")


def test_damaged_texts_are_found(damaged):
    assert len({each["text"] for each in damaged}) >= 300
    rates = collections.defaultdict(list)
    for each in damaged:
        rates[each["kind"].split(",")[0]].append(found(each))
    assert sum(map(sum, rates.values())) >= 0.95 * len(damaged)
    assert {kind: sum(each) / len(each) >= 0.95 for kind, each in rates.items()} == dict.fromkeys(REASONS, True)


def test_the_figures_of_the_docs_are_these(sound, damaged):
    share = 100 * sum(map(found, damaged)) / len(damaged)
    languages = {language for language, _ in sound} - {"code", "menu", "name", "mixed", "ipa", "pinyin"}
    text = " ".join((ROOT / "docs/building.md").read_text("utf-8").split())
    assert f"Of {len(sound)} sound texts in {len(languages)} languages none is left out" in text
    assert f"of {len(damaged)} damaged ones {share:.1f} % are found" in text
