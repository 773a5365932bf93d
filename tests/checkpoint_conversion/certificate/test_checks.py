"""Comparisons that the tests of the certificate do not reach."""

import io
import json
import unicodedata

import numpy as np
from PIL import Image

from m3it_jax.checkpoint_conversion.certificate import checks, probes
from m3it_jax.checkpoint_conversion.certificate.plain import pixels
from m3it_jax.checkpoint_conversion.certificate.plain.text import PlainTokenizer
from m3it_jax.tokenizer import probe_texts

SETTINGS = {"size": {"height": 24, "width": 24}, "image_mean": [0.5] * 3, "image_std": [0.5] * 3}


def _prepared(data, change=0.0):
    return pixels.prepare(Image.open(io.BytesIO(data)), SETTINGS).astype(np.float32) + change


def test_one_pixel_step_is_allowed_in_one_value_of_200():
    assert checks.compare_pictures(SETTINGS, _prepared) | {"pictures": {}} == {
        "ok": True,
        "max_steps": 0.0,
        "identical": 1.0,
        "worst": "odd size",
        "pictures": {},
    }
    step = 2 / 255  # of a pixel, divided by the deviation
    rare = np.zeros((3, 24, 24), np.float32)
    rare[0, 0, :8] = 0.99 * step
    assert checks.compare_pictures(SETTINGS, lambda data: _prepared(data, rare))["ok"]
    assert not checks.compare_pictures(SETTINGS, lambda data: _prepared(data, 1.1 * rare))["ok"]
    rare[0, 1, :8] = 0.5 * step
    assert not checks.compare_pictures(SETTINGS, lambda data: _prepared(data, rare))["ok"]
    told = checks.compare_pictures(SETTINGS, lambda data: _prepared(data)[:, 1:])
    assert not told["ok"] and "Infinity" not in json.dumps(told)


def test_a_special_id_must_not_come_from_text_even_if_the_reference_gives_one(tmp_path):
    def spelled(text):
        return [1 if "</s>" in text else len(text) + 2]

    reference = PlainTokenizer(tmp_path, spelled, frozenset({1}))
    assert not checks.compare_texts(reference, spelled)["ok"]
    told = checks.compare_texts(reference, lambda text: [len(text) + 2])
    assert told["ok"] and told["num_special_spellings"] == 1 and told["num_texts"] == len(probe_texts.TEXTS)


# Of the 80 languages of M3IT-80 (dataset_building/interchange/m3it_80.py).
SCRIPTS = (
    "ARABIC ARMENIAN BENGALI CJK CYRILLIC DEVANAGARI ETHIOPIC GEORGIAN GREEK GUJARATI GURMUKHI HANGUL HEBREW HIRAGANA "
    "KANNADA KATAKANA KHMER LAO LATIN MALAYALAM MYANMAR ORIYA SINHALA TAMIL TELUGU THAI"
).split()


def test_the_probes_have_every_script_and_are_the_same_each_time():
    names = (unicodedata.name(letter, "") for letter in set("".join(probe_texts.TEXTS)))
    assert set(SCRIPTS) <= {name.split()[0] for name in names if name}
    assert len(set(probe_texts.TEXTS)) == len(probe_texts.TEXTS) and probes.pictures() == probes.pictures()
