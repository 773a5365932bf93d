import json
import types

import pytest

from m3it_jax import checkpointing, errors
from m3it_jax.training import data_changes

BEFORE = {"fingerprint": "a", "parts": {"records": "1", "seed": "2", "packing": "3"}}


@pytest.fixture
def run(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpointing, "newest_step", lambda folder: 7)
    monkeypatch.setattr(checkpointing, "read_position", lambda location: BEFORE)
    return tmp_path


def pipeline(fingerprint, **parts):
    return types.SimpleNamespace(fingerprint=fingerprint, parts=BEFORE["parts"] | parts)


def test_the_same_data_goes_on(run):
    data_changes.check(run, pipeline("a"))
    assert data_changes.accept(run, pipeline("a")) == ""
    assert not (run / data_changes.FILE).exists()


def test_a_change_is_named_and_the_option_that_accepts_it(run):
    with pytest.raises(errors.UserError, match=r"other data \(seed, packing changed\).*--accept-data-change"):
        data_changes.check(run, pipeline("b", seed="4", packing="5"))


def test_an_accepted_change_is_noted_and_goes_on_later_too(run):
    changed = pipeline("b", seed="4")
    assert data_changes.accept(run, changed) == "seed"
    data_changes.check(run, changed)
    assert json.loads((run / data_changes.FILE).read_text()) == [{"step": 7, "changed": "seed", "from": "a", "to": "b"}]
    with pytest.raises(errors.UserError, match="records changed"):
        data_changes.check(run, pipeline("c", records="9"))
    data_changes.accept(run, pipeline("c", records="9"))
    assert len(json.loads((run / data_changes.FILE).read_text())) == 2


def test_a_checkpoint_from_before_the_parts_were_noted_names_them_all(run, monkeypatch):
    monkeypatch.setattr(checkpointing, "read_position", lambda location: {"fingerprint": "a"})
    with pytest.raises(errors.UserError, match=r"\(records, seed, packing changed\)"):
        data_changes.check(run, pipeline("b"))


@pytest.mark.parametrize("text", ["{", "[1]", "3"])
def test_notes_that_cannot_be_read_are_told(run, text):
    (run / data_changes.FILE).write_text(text)
    with pytest.raises(errors.UserError, match="data_changes.json: cannot be read"):
        data_changes.check(run, pipeline("b"))


def test_an_empty_folder_has_nothing_to_accept(run, monkeypatch):
    monkeypatch.setattr(checkpointing, "newest_step", lambda folder: None)
    data_changes.check(run, pipeline("b"))
    assert data_changes.accept(run, pipeline("b")) == ""
