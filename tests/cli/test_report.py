"""`m3it report` at the command line."""

import json

import pytest

from m3it_jax.cli import main


@pytest.fixture
def run_dir(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "config.json").write_text('{"num_steps": 2}')
    (folder / "metrics.jsonl").write_text('{"step": 1, "train/loss": 2.0}\n{"step": 2, "train/loss": 1.0}\n')
    return folder


def test_the_path_is_printed_and_the_page_is_there(run_dir, tmp_path, capsys):
    assert main.main(["report", str(run_dir), "--json", str(tmp_path / "page.json")]) == 0
    assert capsys.readouterr().out.strip() == str(run_dir / "report.html")
    assert "<!doctype html>" in (run_dir / "report.html").read_text()
    assert json.loads((tmp_path / "page.json").read_text())["stages"][0]["last_loss"] == 1.0


def test_a_dry_run_writes_nothing(run_dir, capsys):
    before = sorted(run_dir.iterdir())
    assert main.main(["report", str(run_dir), "--dry-run"]) == 0
    assert sorted(run_dir.iterdir()) == before
    assert "would report on" in capsys.readouterr().out


def test_no_run_is_one_line(tmp_path, capsys):
    assert main.main(["report", str(tmp_path)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("m3it: ") and "no run folder" in line


@pytest.mark.parametrize("option", ["--out", "--json"])
def test_a_folder_in_the_place_of_a_file_is_one_line(run_dir, tmp_path, capsys, option):
    before = sorted(tmp_path.rglob("*"))
    assert main.main(["report", str(run_dir), option, str(tmp_path)]) == 1
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("m3it: ") and str(tmp_path) in line
    assert sorted(tmp_path.rglob("*")) == before, "no partial file stays"
