"""The files of an evaluation folder: whole or not there, and a torn line is no row."""

import pytest

from m3it_jax import errors
from m3it_jax.evaluation import output


def test_a_torn_line_is_passed_over_and_cut_on_repair(fakes, store: output.EvalFolder) -> None:
    store.claim({"a": 1})
    store.append([fakes.prediction(0, "两\u2028个"), fakes.prediction(1, "x")])
    file = store.path / output.PREDICTIONS
    whole = file.read_bytes()
    file.write_bytes(whole + b'{"id": "2", "predi')
    assert [row["id"] for row in store.predictions()] == ["0", "1"]
    assert file.read_bytes() != whole
    assert store.predictions(repair=True)[0]["prediction"] == "两\u2028个"
    assert file.read_bytes() == whole


@pytest.mark.parametrize("line", [b"{not json}\n", b"[]\n", b'{"id": "only"}\n', b"\n"])
def test_a_damaged_line_is_named(fakes, store: output.EvalFolder, line: bytes) -> None:
    store.claim({"a": 1})
    store.append([fakes.prediction(0, "x")])
    with open(store.path / output.PREDICTIONS, "ab") as file:
        file.write(line)
    with pytest.raises(errors.UserError, match="predictions.jsonl:2: is no prediction"):
        store.predictions()


def test_claim_names_the_field_that_differs(store: output.EvalFolder) -> None:
    store.claim({"seed": 0, "tokenizer": "x"})
    store.claim({"seed": 0, "tokenizer": "x"})
    with pytest.raises(errors.UserError, match=r"another tokenizer \(x, now y\)"):
        store.claim({"seed": 0, "tokenizer": "y"})


@pytest.mark.parametrize("content", ["{", "[]"])
def test_a_damaged_lock_is_told(store: output.EvalFolder, content: str) -> None:
    store.path.mkdir()
    (store.path / output.LOCK).write_text(content)
    with pytest.raises(errors.UserError, match="lock.json"):
        store.lock()


def test_write_leaves_nothing_half_written(store: output.EvalFolder) -> None:
    store.write(output.SCORES, {"tasks": {}})
    with pytest.raises(UnicodeEncodeError):  # as good as a disk that is full
        store.write(output.SCORES, {"tasks": "\ud800"})
    assert store.scores() == {"tasks": {}}


@pytest.mark.parametrize(
    "changed",
    [
        {"references": "blue"},
        {"references": []},
        {"prediction": 3},
        {"skill": None},
        {"group": None},
        {"family": "zzz"},
        {"number": -1},
        {"number": "0"},
    ],
)
def test_a_row_of_wrong_types_is_named_with_its_field(fakes, store: output.EvalFolder, changed: dict) -> None:
    store.claim({"a": 1})
    store.append([fakes.prediction(0, "x"), {**fakes.prediction(1, "x"), **changed}])
    (field,) = changed
    with pytest.raises(errors.UserError, match=rf"predictions.jsonl:2: is no prediction \({field}="):
        store.predictions()


def test_write_that_fails_leaves_no_partial_file(store: output.EvalFolder) -> None:
    with pytest.raises(UnicodeEncodeError):
        store.write(output.SCORES, {"tasks": "\ud800"})
    assert list(store.path.iterdir()) == []
