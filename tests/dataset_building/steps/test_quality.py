import dataclasses
import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from m3it_jax import schema
from m3it_jax.dataset_building.steps import quality


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
    "text",
    [
        "Sorry, I cannot tell what this is.",
        "I'm sorry, but the image descriptions do not say so.",
        "I am very sorry.",
        "I cannot see any picture.",
        "As an AI language model I have no eyes.",
        "很抱歉,我看不到图片。",
        "对不起,我不知道。",
    ],
)
def test_an_apology_is_known(text):
    assert quality.apologises(text)


@pytest.mark.parametrize(
    "text",
    ["A sign says: sorry, we are closed.", "The dog can't see the ball.", "她在向朋友说对不起。", "An AI robot toy."],
)
def test_what_only_looks_like_an_apology_is_none(text):
    assert not quality.apologises(text)


@pytest.mark.parametrize("text", ["café", "naïve Übung", "東京の夜", "“quoted” – dash… €5", "Đặng Thùy", "مرحبا"])
@pytest.mark.parametrize("codec", ["cp1252", "latin-1"])
def test_a_wrongly_decoded_text_is_known_and_the_right_one_is_not(text, codec):
    assert not quality.is_mojibake(text)
    try:
        wrong = text.encode().decode(codec)
    except UnicodeDecodeError:
        pytest.skip("these bytes have no meaning in this encoding")
    assert quality.is_mojibake(wrong)


def test_lost_characters_are_known():
    assert quality.is_mojibake("caf\ufffd")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"meta": {"options": ["cat", "dog"]}}, "answer-not-an-option"),
        ({"instruction": "Does [HYPO] follow?"}, "broken-slot"),
        ({"outputs": "Sorry, no."}, "apology"),
        ({"inputs": "CafÃ©?"}, "mojibake"),
    ],
)
def test_each_text_rule_has_its_reason(change, reason):
    record = schema.Instance("a-1", "a", "vqa", "en", "Look.", "", "yes", (encoded(),))
    assert [code for code, _ in quality.problems(dataclasses.replace(record, **change))] == [reason]
