import json
import re

import pytest
from predicted_lines import prediction
from toy_translator import backwards

from m3it_jax.cli import main
from m3it_jax.evaluation import output

pytest.importorskip("sacrebleu", reason="sacreBLEU is not installed (extra translate)")


def run(*arguments):
    return main.main([str(argument) for argument in arguments])


def test_the_list_has_every_language(tmp_path, capsys):
    assert run("languages", "list", "--json", tmp_path / "list.json") == 0
    rows = json.loads((tmp_path / "list.json").read_text())
    assert len(rows) == 80 and rows[-1] == {
        "code": "zh",
        "nllb": "zho_Hans",
        "bcp47": "zh-Hans",
        "flores101": "zho_simpl",
        "name": "Chinese (Simplified)",
        "script": "Hans",
        "right_to_left": False,
    }
    assert "zho_Hans" in capsys.readouterr().out


def test_an_evaluation_is_shown_by_language(tmp_path, capsys):
    rows = [prediction(number, "3", language=code) for number, code in enumerate(["en"] * 4 + ["de"] * 3)]
    output.EvalFolder(tmp_path).append(rows)
    plot, told = tmp_path / "map.svg", tmp_path / "told.json"
    assert run("languages", "scores", tmp_path, "--svg", plot, "--trained", "deu_Latn", "--json", told) == 0
    assert json.loads(told.read_text())["languages"]["de"]["tasks"]["digit"]["gap"] == 0
    assert "● de" in plot.read_text(encoding="utf-8") and "gap to en" in capsys.readouterr().out
    assert run("languages", "scores", tmp_path / "none") == 1


def test_a_translator_is_scored_and_the_table_selects(endpoint, tmp_path, capsys):
    for name, lines in (("eng", "A man stands here.\nTwo dogs play on it.\n"), ("deu", "x y z\nv w\n")):
        (tmp_path / f"{name}.devtest").write_text(lines)
    good = "".join(f"{backwards(line)}\n" for line in ("A man stands here.", "Two dogs play on it."))
    (tmp_path / "spa_Latn.devtest").write_text(good)
    fake = endpoint(
        lambda body, number: backwards(re.search(r"Text: (.*)\nTranslation:", body["messages"][0]["content"])[1])
    )
    table = tmp_path / "bleu.json"
    place = ("--translator", "endpoint", "--endpoint", fake.url, "--model", "toy", "--cache", tmp_path / "said")
    assert run("languages", "bleu", tmp_path, "--languages", "es", "de", *place, "--table", table) == 0
    told = json.loads(table.read_text())
    assert told["languages"]["es"]["bleu"] == 100 and told["languages"]["de"]["bleu"] < 20
    assert told["engine"]["model"] == "toy" and told["split"] == "devtest"
    printed = capsys.readouterr()
    assert "1 of 2 languages are above 20" in printed.err and re.search(r"Spanish\s+es\s+100.0\s+-  yes", printed.out)
    assert run("languages", "bleu", tmp_path, "--languages", "fr", *place) == 1
    assert "fra_Latn.devtest" in capsys.readouterr().err
