import xml.etree.ElementTree as ElementTree

import pytest
from predicted_lines import prediction

from m3it_jax import errors
from m3it_jax.evaluation import by_language, controls, output, tasks

PROTOCOL = tasks.Protocol(resamples=50)
GERMAN = "Der Hund läuft am Strand entlang und spielt mit einem Ball."
ENGLISH = "The dog runs along the beach and plays with a red ball."


@pytest.fixture
def folder(tmp_path):
    rows = [prediction(number, "3" if number < 8 else "4") for number in range(10)]
    rows += [prediction(number, "3" if number < 13 else ENGLISH, language="de") for number in range(10, 20)]
    rows += [prediction(number, GERMAN, language="de", skill="own", references=[GERMAN]) for number in range(20, 24)]
    rows += [prediction(30, "3", language="wo"), prediction(0, "9", variant=controls.BLANK)]
    found = output.EvalFolder(tmp_path)
    found.append(rows)
    return found


def test_each_language_has_its_scores_and_the_gap_to_english(folder):
    found = by_language.measure(folder, PROTOCOL)
    assert list(found["languages"]) == ["en", "de", "wo"] and found["tasks"] == ["digit", "own"]
    english, german = (found["languages"][code]["tasks"]["digit"] for code in ("en", "de"))
    assert (english["value"], english["n"], german["value"], german["n"]) == (80.0, 10, 30.0, 10)
    assert "gap" not in english and german["gap"] == -50.0 and german["low"] <= 30.0 <= german["high"]
    assert "gap" not in found["languages"]["de"]["tasks"]["own"]


def test_answers_are_told_by_language_where_that_is_possible(folder):
    found = by_language.measure(folder, PROTOCOL)["languages"]
    assert found["de"]["match_n"] == 11 and found["de"]["match"] == pytest.approx(100 * 4 / 11)
    assert "match" not in found["en"] and "match" not in found["wo"]


def test_table_and_heat_map_show_them(folder, tmp_path):
    found = by_language.measure(folder, PROTOCOL)
    lines = by_language.table(found).splitlines()
    assert len(lines) == 1 + 4 + 1 and any(line.startswith("de        digit") and "-50.0" in line for line in lines)
    path = tmp_path / "map.svg"
    path.write_text(by_language.heat_map(found, ["de"]), encoding="utf-8")
    texts = [each.text for each in ElementTree.parse(path).getroot().iter("{http://www.w3.org/2000/svg}text")]
    assert "● de" in texts and "wo" in texts and "80.0" in texts and len(texts) == 2 + 3 + 4


def test_a_folder_without_answers_is_refused(tmp_path):
    with pytest.raises(errors.UserError, match="has no answers"):
        by_language.measure(output.EvalFolder(tmp_path), PROTOCOL)
