import json

import pytest

from m3it_jax.cli import main


def run(*arguments):
    return main.main([str(argument) for argument in arguments])


@pytest.fixture
def flipped(small_folder):
    """The folder with one flipped byte in the data of a record."""
    shard = small_folder / "digits-vqa" / "1.0.0" / "m3it-test.tfrecord-00000-of-00001"
    data = bytearray(shard.read_bytes())
    data[30] ^= 1
    shard.write_bytes(bytes(data))
    return small_folder


def test_a_sound_folder_exits_with_0(small_folder, tmp_path, capsys):
    assert run("check", small_folder, "--json", tmp_path / "check.json") == 0
    assert "sound" in capsys.readouterr().out
    assert json.loads((tmp_path / "check.json").read_text()) == {"ok": True, "problems": []}


def test_one_flipped_byte_exits_with_1_and_is_named(flipped, tmp_path, capsys):
    assert run("check", flipped, "--json", tmp_path / "check.json") == 1
    assert "m3it-test.tfrecord-00000-of-00001 record 0 offset 0: framing" in capsys.readouterr().out
    told = json.loads((tmp_path / "check.json").read_text())
    assert not told["ok"] and [set(problem) for problem in told["problems"]] == [{"file", "record", "offset", "reason"}]
    assert (told["problems"][0]["record"], told["problems"][0]["offset"]) == (0, 0)


def test_what_is_no_folder_is_told_in_one_line(tmp_path, capsys):
    assert run("check", tmp_path / "nothing") == 1
    assert "is no folder" in capsys.readouterr().err


def test_stats_count_what_is_there(small_folder, tmp_path, capsys):
    assert run("stats", small_folder, "--json", tmp_path / "s.json", "--html", tmp_path / "s.html") == 0
    told = json.loads((tmp_path / "s.json").read_text())
    splits = told["sources"]["digits-vqa"]["splits"]
    assert {split: seen["records"] for split, seen in splits.items()} == {"train": 4, "validation": 4, "test": 4}
    page = (tmp_path / "s.html").read_text()
    assert "digits-vqa" in page and "http" not in page.split("</style>")[0]
    assert "records by task: vqa 12" in capsys.readouterr().out
