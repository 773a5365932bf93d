import dataclasses
import json

import pytest

from m3it_jax.cli import export as verb
from m3it_jax.cli import main
from m3it_jax.dataset_building import export


def run(*arguments):
    return main.main(["export", *(str(argument) for argument in arguments)])


def test_an_export_is_written_and_told(one_source, tmp_path, capsys):
    assert run("jsonl", one_source, "--out", tmp_path / "out", "--json", tmp_path / "e.json") == 0
    told = capsys.readouterr()
    assert "digits-vqa, train: 4 records in 1 file," in told.out and f"written to {tmp_path / 'out'}" in told.err
    assert json.loads((tmp_path / "e.json").read_text())["format"] == "jsonl"
    assert run("jsonl", one_source, "--out", tmp_path / "out") == 0
    assert "stands already in" in capsys.readouterr().err


def test_a_dry_run_writes_nothing(one_source, tmp_path, capsys):
    assert run("parquet", one_source, "--out", tmp_path / "out", "--limit", 3, "--dry-run") == 0
    assert "digits-vqa, test: 3 records in 1 file," in capsys.readouterr().out
    assert not (tmp_path / "out").exists()


def test_the_verb_offers_every_format(capsys):
    with pytest.raises(SystemExit):
        run("csv", "data", "--out", "out")
    told = capsys.readouterr().err
    assert all(name in told.split("choose from")[1] for name in export.FORMATS)
    assert verb.EXAMPLE.split()[2] in export.FORMATS


def test_a_full_disk_is_told_in_one_line(one_source, tmp_path, monkeypatch, capsys):
    def full(path, rows):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device", str(path))

    monkeypatch.setitem(export.FORMATS, "jsonl", dataclasses.replace(export.FORMATS["jsonl"], write=full))
    assert run("jsonl", one_source, "--out", tmp_path / "out") == 1
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("m3it")]
    assert len(lines) == 1 and "the disk is full" in lines[0]
    assert not [
        path for path in (tmp_path / "out").rglob("*") if path.is_file() and path.name not in (".lock", "order.json")
    ]


def test_a_folder_with_something_else_is_refused(one_source, tmp_path, capsys):
    (tmp_path / "notes.txt").touch()
    assert run("jsonl", one_source, "--out", tmp_path) == 1
    assert "holds notes.txt" in capsys.readouterr().err
