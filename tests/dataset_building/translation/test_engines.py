"""The three translators: a CTranslate2 model made here, a local endpoint, Apertium where it is installed or faked."""

import json
import pathlib
import shutil
import stat
import time

import nllb_model
import pytest
from babel import Locale

from m3it_jax import errors, languages, llm_client, metrics
from m3it_jax.dataset_building.translation import engines
from m3it_jax.dataset_building.translation.engines.apertium import Apertium
from m3it_jax.dataset_building.translation.engines.endpoint import SAMPLING, Endpoint
from m3it_jax.dataset_building.translation.engines.nllb import Nllb

ENGLISH, SPANISH = languages.ENGLISH, languages.find("es")
NAMES = json.loads((pathlib.Path(__file__).parents[2] / "fixtures/texts/emoji_names.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    pytest.importorskip("ctranslate2", reason="CTranslate2 is not installed (extra translate)")
    return nllb_model.write(tmp_path_factory.mktemp("nllb") / "model")


def test_nllb_translates_in_any_order(model):
    engine = Nllb(model, threads=1)
    engine.check(ENGLISH, SPANISH)
    texts = ["A dog.", "What colour is the house?", "Two children play on the beach."]
    said = engine.translate(texts, ENGLISH, SPANISH)
    assert all(isinstance(text, str) for text in said) and len(set(said)) == 3
    assert engine.translate(texts[::-1], ENGLISH, SPANISH) == said[::-1]
    assert engine.translate(texts, ENGLISH, languages.find("de")) != said  # the target's code is read
    assert engine.translate(texts, languages.find("de"), SPANISH) != said  # and the source's
    assert not any("eng_Latn" in text or "</s>" in text for text in said)
    assert engine.translate([], ENGLISH, SPANISH) == []


def test_nllb_is_named_by_its_weights(model, tmp_path):
    other = nllb_model.write(tmp_path / "other", seed=1)
    one, two = Nllb(model, threads=1).settings(), Nllb(other, threads=1).settings()
    assert one["name"] == "nllb" and one["beam"] == 4 and one["model"] != two["model"]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda folder: (folder / "model.bin").unlink(), "is no model of CTranslate2"),
        (lambda folder: (folder / "shared_vocabulary.json").unlink(), "is no model of CTranslate2"),
        (lambda folder: (folder / "sentencepiece.bpe.model").unlink(), "has no tokenizer"),
        (lambda folder: (folder / "shared_vocabulary.json").write_text("3"), "is no vocabulary"),
        (lambda folder: (folder / "model.bin").write_bytes(b"x" * 99), "cannot load it"),
    ],
)
def test_a_damaged_model_is_refused_in_one_line(model, tmp_path, damage, message):
    folder = tmp_path / "copy"
    shutil.copytree(model, folder)
    damage(folder)
    with pytest.raises(errors.UserError, match=message) as error:
        Nllb(folder, threads=1)
    assert "\n" not in str(error.value)


def test_nllb_refuses_languages_that_its_vocabulary_lacks(model):
    with pytest.raises(errors.UserError, match="fra_Latn"):
        Nllb(model, threads=1).check(ENGLISH, languages.find("fr"))


def test_an_endpoint_is_asked_line_by_line(endpoint, tmp_path):
    def reply(body, number):
        text = body["messages"][0]["content"].split("Text: ")[1].split("\nTranslation")[0]
        if text == "never":
            return (400, {}, b"content filter")
        return f"  {text.upper()} " if text != "both" else "ONE\nTWO"

    fake = endpoint(reply)
    client = llm_client.Client(fake.url, llm_client.Cache(tmp_path), llm_client.Limits())
    engine = Endpoint(client, "toy", SAMPLING)
    engine.check(ENGLISH, SPANISH)
    said = engine.translate(["a [1] dog", "never", "both", "a [1] dog"], ENGLISH, SPANISH)
    assert said[0] == said[3] == "A [1] DOG" and said[2] == "ONE\nTWO" and isinstance(said[1], engines.Failure)
    assert len(fake.bodies) == 3 and "from English into Spanish (es)" in fake.bodies[0]["messages"][0]["content"]
    assert engine.settings() == {"name": "endpoint", "model": "toy", "sampling": dict(SAMPLING), "prompt": 1}


def test_what_an_endpoint_cut_off_is_no_translation(endpoint, tmp_path):
    from fake_endpoint import completion

    fake = endpoint(lambda body, number: completion("Un per", finish="length"))
    client = llm_client.Client(fake.url, llm_client.Cache(tmp_path), llm_client.Limits())
    (said,) = Endpoint(client, "toy", SAMPLING).translate(["a dog"], ENGLISH, SPANISH)
    assert said == engines.Failure("was cut off (length)")


def program(folder: pathlib.Path, body: str) -> str:
    """A program that lists one mode and else does what `body` says with its input."""
    path = folder / "apertium"
    path.write_text(f'#!/bin/sh\nif [ "$1" = -l ]; then echo "  eng-spa"; exit 0; fi\n{body}\n')
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


LINES = [f"line {number}" for number in range(8)]


def test_lines_come_back_in_order(tmp_path):
    engine = Apertium(program(tmp_path, "tr a-z A-Z"), processes=3)
    engine.check(ENGLISH, SPANISH)
    assert engine.translate(LINES, ENGLISH, SPANISH) == [line.upper() for line in LINES]
    assert engine.translate([], ENGLISH, SPANISH) == []
    with pytest.raises(errors.UserError, match="no mode from en to de; installed are eng-spa"):
        engine.check(ENGLISH, languages.find("de"))


@pytest.mark.parametrize(
    ("body", "told"),
    [
        (
            't=$(cat; echo .); case "$t" in *"line 5"*) echo bad >&2; exit 3;; esac; printf "%s" "${t%.}"',
            "ended with code 3: bad",
        ),
        ('t=$(cat; echo .); case "$t" in *"line 5"*) kill -9 $$;; esac; printf "%s" "${t%.}"', "ended with code -9"),
        ('t=$(cat; echo .); case "$t" in *"line 5"*) sleep 60;; esac; printf "%s" "${t%.}"', "gave no answer within"),
        (r'sed "s/line 5/a\n\nb/"', "gave 2 lines for 1"),
    ],
)
def test_the_line_that_does_it_is_found_and_all_others_are_translated(tmp_path, body, told, monkeypatch):
    monkeypatch.setattr("m3it_jax.dataset_building.translation.engines.apertium._LINE_S", 0.0)
    engine = Apertium(program(tmp_path, body), start_s=0.7)
    started = time.monotonic()
    said = engine.translate(LINES, ENGLISH, SPANISH)
    failed = [number for number, line in enumerate(said) if isinstance(line, engines.Failure)]
    assert failed == [5] and told in said[5].text and said[6] == "line 6"
    assert time.monotonic() - started < 15


def test_a_translator_that_never_works_stops_the_run(tmp_path):
    engine = Apertium(program(tmp_path, "exit 1"))
    with pytest.raises(errors.UserError, match="20 texts in a row got no translation"):
        engine.translate(["x"] * 25, ENGLISH, SPANISH)
    with pytest.raises(errors.UserError, match="is not installed"):
        Apertium(str(tmp_path / "none"))


@pytest.fixture(scope="module")
def real():
    if shutil.which("apertium") is None:
        pytest.skip("Apertium is not installed: apt-get install apertium apertium-eng-spa apertium-eng-cat ...")
    return Apertium()


def scored(engine, code, given, wanted):
    try:
        engine.check(ENGLISH, languages.find(code))
    except errors.UserError as error:
        pytest.skip(str(error))
    said = [str(text).lower() for text in engine.translate(given, ENGLISH, languages.find(code))]
    targets = [[text.lower()] for text in wanted]
    return metrics.chrf(targets, said)["chrf"], metrics.bleu(targets, said)["bleu"]


@pytest.mark.parametrize(("code", "chrf", "bleu"), [("es", 40, 7), ("ca", 42, 9), ("gl", 35, 7)])
def test_apertium_is_scored_against_names_of_emoji_that_people_wrote(real, code, chrf, bleu):
    found = scored(real, code, NAMES["en"], NAMES[code])
    assert found[0] > chrf and found[1] > bleu, found


def test_apertium_is_scored_against_names_of_countries_that_people_wrote(real):
    """CLDR has no names of emoji in Esperanto."""
    wanted, given = Locale("eo").territories, Locale("en").territories
    codes = sorted(code for code in wanted if code.isalpha() and code in given)
    found = scored(real, "eo", [given[code] for code in codes], [wanted[code] for code in codes])
    assert found[0] > 48 and found[1] > 4, found


def test_apertium_keeps_marks_and_reads_each_line_alone(real):
    texts = ["The answer is [1] clock.", "a dog", "There are [1] dogs in [2]", "Options:"]
    real.check(ENGLISH, SPANISH)
    said = real.translate(texts, ENGLISH, SPANISH)
    assert said[1:2] == real.translate(texts[1:2], ENGLISH, SPANISH)
    assert "[1]" in said[0] and "[1]" in said[2] and "[2]" in said[2]
