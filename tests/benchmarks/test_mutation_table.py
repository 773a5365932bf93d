"""The table of docs/testing.md is made from the results alone."""

import pathlib

import pytest

FOLDER = pathlib.Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def table(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import mutation_table

    return mutation_table


def test_shares_survivors_and_reasons_stand_between_the_marks(table) -> None:
    module = "m3it_jax/metrics/rouge.py"
    row = {"folder": "m3it_jax/metrics", "module": module}
    known = {
        f"{module} f: 1 -> 2": row | {"caught": True},
        f"{module} f: a | b -> a": row | {"caught": False},
        f"{module} f: same -> same": row | {"caught": False},
    }
    text = "words\n<!-- begin mutation -->\nold\n<!-- end mutation -->\nmore\n"
    lines = table.rendered(text, known, {f"{module} f: same -> same": "a reason"}).splitlines()
    assert lines[0] == "words" and lines[-1] == "more" and "old" not in lines
    assert "| `m3it_jax/metrics` | 2 | 1 | 50 % | 95 % |" in lines
    assert "| `metrics/rouge.py` | 2 | 1 | `f: a ¦ b -> a` |" in lines
    assert "| `rouge.py f: same -> same` | a reason |" in lines


def test_the_document_is_what_the_results_say(table) -> None:
    import json

    text = table.DOCUMENT.read_text("utf-8")
    known = json.loads(table.RESULTS.read_text("utf-8"))
    assert table.rendered(text, known, table.plan.equivalent()) == text, "run python benchmarks/mutation_table.py"
