"""`m3it radar` at the command line."""

import json

import pytest

from m3it_jax.cli import main


def test_own_splits_are_compared_and_recall_is_told(one_source, tmp_path, capsys):
    out = tmp_path / "radar.json"
    assert main.main(["radar", str(one_source), "--planted", "4", "--json", str(out)]) == 0
    found = json.loads(out.read_text())
    assert found["train_split"] == "train" and set(found["tasks"]) == {"digit", "digit-parity"}
    assert set(found["recall"]) >= {"resized", "flipped", "recompressed"} and found["recall"]["flipped"] == 1.0
    printed = capsys.readouterr().out
    assert "planted copies found, flipped: 100.0 %" in printed


@pytest.mark.parametrize(
    ("more", "code", "message"),
    [
        (("--split", "train"), 2, "is what was trained on"),
        (("--scores", "nowhere"), 1, "holds no answer"),
        (("--embeddings", "gone.npz"), 1, "cannot be read"),
    ],
)
def test_mistakes_are_one_line(one_source, capsys, more, code, message):
    assert main.main(["radar", str(one_source), "--limit", "2", *more]) == code
    assert message in capsys.readouterr().err.splitlines()[-1]
