"""`m3it compare` at the command line."""

import json

import pytest

from m3it_jax.cli import main
from m3it_jax.evaluation import output


def write(path, answers: str, **lock) -> None:
    path.mkdir(parents=True)
    store = output.EvalFolder(path)
    store.write(output.LOCK, {"checkpoint": str(path), "data": "d", **lock})
    row = {"source": "s", "skill": "digit", "family": "vqa", "language": "en", "instruction": "?", "inputs": ""}
    store.append(
        {
            **row,
            "id": str(place),
            "number": place,
            "group": str(place),
            "references": ["3"],
            "variant": "own",
            "prediction": text,
        }
        for place, text in enumerate(answers)
    )


def test_two_evaluations_are_compared(tmp_path, capsys):
    write(tmp_path / "mine/eval/9", "4" * 40)
    write(tmp_path / "mine/eval/10", "3" * 40)  # the newest of a run
    write(tmp_path / "quick/stage2/eval/5", "3" * 30 + "4" * 10)
    out = tmp_path / "compare.json"
    assert main.main(["compare", str(tmp_path / "mine"), str(tmp_path / "quick"), "--json", str(out)]) == 0
    entry = json.loads(out.read_text())["tasks"]["digit"]
    assert {"metric", "n", "difference", "low", "high", "p"} <= set(entry)
    assert entry["difference"] == 25.0 and entry["p"] < 0.01
    shown = capsys.readouterr().out
    assert "+25.00" in shown and "different after Holm's correction (p < 0.05): digit, vqa" in shown


@pytest.mark.parametrize(
    ("other", "more", "code", "message"),
    [
        ("gone", (), 1, "gone: is no folder"),
        ("empty", (), 1, "empty: holds no evaluation"),
        ("other", (), 1, "differ in data (d, e)"),
        ("a", ("--metric", "blue"), 2, "--metric blue: unknown"),
        ("a", ("--json", "gone/x.json"), 1, "folder gone does not exist"),
        ("other", ("--allow", "dat"), 2, "--allow dat"),
    ],
)
def test_mistakes_are_one_line(tmp_path, capsys, other, more, code, message):
    write(tmp_path / "a", "3")
    write(tmp_path / "other", "3", data="e")
    (tmp_path / "empty").mkdir()
    assert main.main(["compare", str(tmp_path / "a"), str(tmp_path / other), *more]) == code
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line
