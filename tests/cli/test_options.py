"""Options that verbs share."""

import argparse
import json

import pytest

from m3it_jax import errors
from m3it_jax.cli import options


@pytest.mark.parametrize("text", ["0", "-1", "1.5", "many", ""])
def test_limit_must_be_a_whole_number_above_zero(text):
    with pytest.raises(argparse.ArgumentTypeError, match="above 0"):
        options.positive(text)


def test_positive_takes_whole_numbers():
    assert options.positive("12") == 12


def test_json_is_written_whole_and_readable(tmp_path):
    path = tmp_path / "result.json"
    path.write_text("old")
    options.write_json(path, {"answer": "一个圆形", "n": 1})
    assert json.loads(path.read_text(encoding="utf-8")) == {"answer": "一个圆形", "n": 1}
    assert [file.name for file in tmp_path.iterdir()] == ["result.json"], "no partial file stays"


def test_json_that_cannot_be_encoded_leaves_the_old_file(tmp_path):
    path = tmp_path / "result.json"
    path.write_text("old")
    with pytest.raises(TypeError):
        options.write_json(path, {"value": object()})
    assert path.read_text() == "old"


def test_json_into_a_missing_folder_is_told(tmp_path):
    with pytest.raises(errors.UserError, match="does not exist"):
        options.write_json(tmp_path / "none" / "result.json", {})


def test_a_file_that_cannot_be_written_is_told_before_the_work(tmp_path, monkeypatch):
    options.check_file(tmp_path / "new.json", option="--json")
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(errors.UserError, match="--json .*is a folder"):
        options.check_file(tmp_path, option="--json")

    def refuse(dir):
        raise OSError(30, "Read-only file system", dir)

    monkeypatch.setattr(options.tempfile, "TemporaryFile", refuse)
    with pytest.raises(errors.UserError, match="Read-only file system"):
        options.check_file(tmp_path / "new.json", option="--json")


def test_a_folder_that_cannot_be_made_is_told_before_the_work(tmp_path):
    options.check_folder(tmp_path / "a" / "b", option="--out")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file", tmp_path / "file" / "sub"):
        with pytest.raises(errors.UserError, match="--out .*is no folder"):
            options.check_folder(path, option="--out")


def test_a_failed_write_leaves_no_partial_file(tmp_path):
    with pytest.raises(UnicodeEncodeError):
        options.write_text(tmp_path / "page.html", "\ud800", option="--html")
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_that_is_not_there_is_told_without_jax(tmp_path):
    options.check_checkpoint(tmp_path)
    with pytest.raises(errors.UserError, match="gone: no checkpoint here"):
        options.check_checkpoint(tmp_path / "gone")


def test_json_spells_a_name_that_is_no_utf8(tmp_path):
    options.write_json(tmp_path / "result.json", {"image": "caf\udce9 \U0001f600.png"})
    assert json.loads((tmp_path / "result.json").read_text("utf-8")) == {"image": "caf\udce9 \U0001f600.png"}
