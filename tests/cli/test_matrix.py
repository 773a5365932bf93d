"""`m3it matrix` at the command line: answered, measured, measured again, and what is refused."""

import json
import xml.etree.ElementTree as ElementTree

import pytest
import tiny_assistant

from m3it_jax import records
from m3it_jax.cli import main


@pytest.fixture(scope="module")
def run_folder(tmp_path_factory):
    return tiny_assistant.write_run(tmp_path_factory.mktemp("runs") / "run")


def words(run_folder, data, out, *more: str) -> list[str]:
    return ["matrix", str(run_folder), str(data), "--out", str(out), "--limit", "3", "--strengths", "2", *more]


def test_the_matrix_is_answered_once_and_measured_again(run_folder, one_source, tmp_path, capsys):
    out, file = tmp_path / "eval", tmp_path / "again.json"
    (source,) = records.DataFolder.open(one_source).sources
    assert main.main(words(run_folder, one_source, out, "--trained-on", source)) == 0
    printed = capsys.readouterr().out
    assert "strength 2" in printed and "wording" in printed
    lines = (out / "predictions.jsonl").read_text().splitlines()
    variants = {json.loads(line)["variant"] for line in lines}
    assert variants == {"own", "reworded", "corrupted-2", "reworded-corrupted-2"}
    found = json.loads((out / "matrix.json").read_text())
    assert sum(cell["n"] for cell in found["cells"]) == len(lines) == 12
    assert found["sources_trained_on"] == [source]
    assert ElementTree.fromstring((out / "matrix.svg").read_text()).tag.endswith("svg")
    assert main.main(words("no model", one_source, out, "--trained-on", source, "--rescore", "--json", str(file))) == 0
    assert json.loads(file.read_text()) == found


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (("--strengths", "6"), 2, "6"),
        (("--tasks", "digitt"), 2, "digit-parity"),
        (("--wordings", "gone.json"), 1, "gone.json: cannot be read"),
        (("--rescore",), 1, "no answer to measure"),
    ],
)
def test_mistakes_are_named(run_folder, one_source, tmp_path, capsys, exit_code, more, code, message):
    assert exit_code(words(run_folder, one_source, tmp_path / "eval", *more)) == code
    assert message in capsys.readouterr().err.splitlines()[-1]
    assert not (tmp_path / "eval" / "predictions.jsonl").exists()


def test_a_dry_run_counts_and_writes_nothing(run_folder, one_source, tmp_path, capsys):
    assert main.main(words(run_folder, one_source, tmp_path / "eval", "--dry-run")) == 0
    assert "3 records under 4 conditions" in capsys.readouterr().out
    assert not (tmp_path / "eval").exists()
