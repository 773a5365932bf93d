import pathlib
import xml.etree.ElementTree as ElementTree

import pytest
from nllb_model import TEXTS

from m3it_jax import errors, languages, tokenizer
from m3it_jax.analysis import token_cost
from m3it_jax.cli import main

ROOT = pathlib.Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    found = tmp_path_factory.mktemp("vocabulary") / "own.model"
    tokenizer.train(TEXTS * 4, found, 400)
    return found


def test_tokens_and_parts_of_characters_are_counted(path):
    vocabulary = tokenizer.Tokenizer.load(path)
    seen = token_cost.cost(vocabulary, ["A dog.", "ქ"])
    assert seen.characters == 7 and seen.byte_tokens == 3 and seen.unknown == 0
    assert seen.tokens == len(vocabulary.encode("A dog.")) + len(vocabulary.encode("ქ"))
    assert seen.per_character == seen.tokens / 7 and seen.byte_share == 3 / seen.tokens


def test_nearly_every_language_has_text_that_people_wrote():
    without = [each.code for each in languages.M3IT_80 if not token_cost.texts(each)]
    assert without == ["li", "ny"]
    assert "Spanien" in token_cost.texts(languages.find("de")) and "西班牙" in token_cost.texts(languages.find("zh"))


def test_the_program_writes_table_plot_and_page(path, tmp_path, capsys):
    page, plot, told = tmp_path / "page.md", tmp_path / "plot.svg", tmp_path / "told.json"
    page.write_text(f"before\n{token_cost.BEGIN}\nold\n{token_cost.END}\nafter\n")
    arguments = [
        "languages",
        "tokens",
        path,
        path,
        "--names",
        "one",
        "two",
        "--svg",
        plot,
        "--page",
        page,
        "--json",
        told,
    ]
    assert main.main(list(map(str, arguments))) == 0
    table = capsys.readouterr().out
    assert len(table.splitlines()) == 82 and "| ny | nya_Latn | ny | Nyanja | Latn | no text |  | no text |  |" in table
    assert page.read_text() == f"before\n{token_cost.BEGIN}\n\n{table}\n{token_cost.END}\nafter\n"
    bars = ElementTree.parse(plot).getroot().findall(".//{http://www.w3.org/2000/svg}text")
    assert sum(bar.text == "German" for bar in bars) == 1 and len(bars) == 3 + 3 * 78
    with pytest.raises(errors.UserError, match="has no lines"):
        token_cost.page("nothing", table)


def test_other_text_may_be_given(path, tmp_path, capsys):
    for each in languages.M3IT_80:
        (tmp_path / f"{each.nllb}.devtest").write_text("A dog.\n" if each.code != "ka" else "ქ\n", encoding="utf-8")
    assert main.main(["languages", "tokens", str(path), "--texts", str(tmp_path)]) == 0
    assert "| ka | kat_Geor | ka | Georgian | Geor | 3.00 | 100 % |" in capsys.readouterr().out
    assert main.main(["languages", "tokens", str(path), str(path)]) == 2
    assert "--names" in capsys.readouterr().err


def test_the_documents_hold_every_language_and_the_plot():
    text = (ROOT / "docs/languages.md").read_text(encoding="utf-8")
    table = text.partition(token_cost.BEGIN)[2].partition(token_cost.END)[0]
    rows = [line.split(" | ") for line in table.splitlines() if line.startswith("| ")][1:]
    assert [row[1:5] for row in rows] == [
        [each.nllb, each.bcp47, each.name, f"{each.script}, right to left" if each.is_right_to_left else each.script]
        for each in languages.M3IT_80
    ]
    assert (ROOT / "docs/languages.svg").read_text(encoding="utf-8").startswith("<svg")
