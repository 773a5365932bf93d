import json

import built_folder
import pytest

from m3it_jax import records
from m3it_jax.cli import main


def m3it(*words: object) -> int:
    return main.main([str(word) for word in words])


@pytest.fixture
def folder(tmp_path):
    """Three sound records and an apology, which stands in the folder as an older builder might have let it."""
    rows = [built_folder.row("toys", f"what is {n}?", f"a ball {n}") for n in range(3)]
    return built_folder.build(tmp_path / "data", {"toys": {"train": rows}})


def test_a_sound_folder_has_no_fault(folder, tmp_path, capsys):
    assert m3it("quality", folder, "--json", tmp_path / "q.json") == 0
    assert "0 faults in 3 records" in capsys.readouterr().err
    assert json.loads((tmp_path / "q.json").read_text())["sources"]["toys"]["faults"] in ({}, {"train": {}})


def test_a_review_needs_a_place_for_the_copy(folder, tmp_path, capsys):
    (tmp_path / "r.jsonl").touch()
    assert m3it("quality", folder, "--admit", tmp_path / "r.jsonl") == 2
    assert "--admit: needs --out" in capsys.readouterr().err
    assert m3it("quality", folder, "--out", tmp_path / "copy", "--dry-run") == 0
    assert not (tmp_path / "copy").exists()


@pytest.mark.slow
def test_a_copy_is_written_and_sound(folder, tmp_path, capsys):
    assert m3it("quality", folder, "--out", tmp_path / "copy", "--jobs", 1) == 0
    assert len(records.DataFolder.open(tmp_path / "copy").table("toys", "train")) == 3
    assert m3it("check", tmp_path / "copy") == 0
    assert m3it("quality", folder, "--out", folder / "inside") == 1
    assert "lies in the data folder that is copied" in capsys.readouterr().err
