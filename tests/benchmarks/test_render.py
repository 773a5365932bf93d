import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
FOLDER = ROOT / "benchmarks"


@pytest.fixture
def render(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import render

    return render


def test_the_documents_are_what_the_results_say(render) -> None:
    texts = [document.read_text("utf-8") for document in render.DOCUMENTS]
    for text in texts:
        assert render.rendered(text, FOLDER / "results") == text, "run python benchmarks/render.py"
    for name in ("step_time", "decode", "input", "build", "quickstart", "stage_one", "families"):
        assert f"<!-- begin {name} -->" in "".join(texts) and (FOLDER / f"{name}.py").exists()


def test_figures_come_from_the_file_alone(render, tmp_path) -> None:
    text = "before\n<!-- begin speed -->\nold 7\n<!-- end speed -->\nafter\n"
    assert "Not measured yet" in render.rendered(text, tmp_path)
    machine = {"cpu": "C", "cores": 2, "python": "3", "versions": {}, "commit": "c", "uncommitted_changes": False}
    result = {
        "machine": {**machine, "time": "now", "load_before": 0.0},
        "references": {"peak, GFLOP/s": 1234.5},
        "columns": [["name", "case", ""], ["seconds.min", "least", ".2f"]],
        "rows": [{"name": "one", "seconds": {"min": 0.126}}],
    }
    (tmp_path / "speed.json").write_text(json.dumps(result))
    new = render.rendered(text, tmp_path)
    assert "| one | 0.13 |" in new and "1,234" in new and "old 7" not in new
    assert new.startswith("before\n") and new.endswith("<!-- end speed -->\nafter\n")
    assert render.rendered(new, tmp_path) == new


@pytest.mark.parametrize("name", ["step_time", "decode", "input", "build"])
@pytest.mark.slow
def test_benchmarks_say_what_they_do(name: str) -> None:
    done = subprocess.run([sys.executable, FOLDER / f"{name}.py", "--help"], capture_output=True, text=True)
    assert done.returncode == 0 and "--repeats" in done.stdout, done.stderr
