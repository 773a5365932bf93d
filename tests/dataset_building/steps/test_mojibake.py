import time

import pytest

from m3it_jax.dataset_building.steps import mojibake

TEXTS = (
    "café",
    "naïve Übung",
    "東京の夜",
    "“quoted” – dash… €5",
    "Đặng Thùy",
    "مرحبا",
    "Привет",
    "😀 ok",
    "à la carte",
)


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("codec", ["cp1252", "latin-1", "cp1251", "cp437", "mac-roman"])
def test_a_wrongly_decoded_text_is_known_and_the_right_one_is_not(text, codec):
    assert not mojibake.is_mojibake(text)
    wrong = text.encode().decode(codec, "ignore") if codec == "latin-1" else _read(text, codec)
    assert mojibake.is_mojibake(wrong)
    assert mojibake.is_mojibake(_read(wrong, codec))


def _read(text, codec):
    """Returns a text's UTF-8 as an encoding has it; a byte without a meaning is a control character."""
    letters = (bytes([byte]).decode(codec, "replace") for byte in text.encode())
    return "".join(
        chr(byte) if letter == "\ufffd" else letter for letter, byte in zip(letters, text.encode(), strict=True)
    )


@pytest.mark.parametrize(
    ("text", "codec"),
    [("ファイルを開く", "gbk"), ("Köln", "big5"), ("Привет", "gbk"), ("für Öl", "gbk"), ("café né", "shift_jis")],
)
def test_what_east_asian_encodings_made_of_a_text_is_known(text, codec):
    assert mojibake.is_mojibake(text.encode().decode(codec, "ignore"))


def test_lost_characters_are_known():
    assert mojibake.is_mojibake("caf\ufffd")
    assert mojibake.is_mojibake("voil\xc3 tout") and mojibake.is_mojibake("voil\xc3")  # the no-break space made a space


@pytest.mark.parametrize(
    "text",
    [
        "„Spaß“",
        "Spaß“",
        "«CAFÉ»",
        "CAFÉ»",
        "“CAFÉ”",
        "KÖ…",
        "É™",
        "É™a et É™.",  # the same twice is no more evidence
        "IRM\xc3”",
        "MAN\xc3–NOITE",
        "联通",
        "B5Δ”",
        "ЁЖ…",
        "ﾃｨ",
        "ŻÓŁW",
    ],
)
def test_bytes_that_fit_by_chance_are_no_evidence(text):
    assert not mojibake.is_mojibake(text)


def test_a_part_of_a_text_is_enough_where_it_is_plain():
    assert mojibake.is_mojibake("“Straße” und Stra\xc3\u0178e")
    assert not mojibake.is_mojibake("“Straße” und É»")


def test_hostile_texts_take_no_time():
    texts = ("\xc3\xa9" * 50_000, "Ã\x83Â" * 30_000, "\u0416\u2013" * 50_000, "日" * 100_000, "é" * 100_000)
    start = time.process_time()
    for text in texts:
        mojibake.is_mojibake(text)
    assert time.process_time() - start < 5
