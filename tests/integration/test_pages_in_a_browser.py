"""Every page that the project writes, opened in a real browser on a phone and on a desk, in light and in dark."""

import json
import pathlib
import re

import pages_in_chromium
import pytest

from m3it_jax.cli import main

CONFIG = pathlib.Path(__file__).resolve().parents[2] / "configs" / "tiny.py"
SMALL = [
    "--num_steps=2",
    "--optimizer.warmup_steps=1",
    "--samples.every=2",
    "--data.validation_share=0.1",
    "--data.max_text_len=80",
]
PAGES = (
    "report.html",
    "stats.html",
    "run/samples/0.html",
    "run/samples/2.html",
    "pages/index.html#view=records",
    "pages/index.html#view=sources",
    "pages/index.html#view=plots",
    "pages/index.html#view=rejected",
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (pages_in_chromium.browser() and pages_in_chromium.axe()),
        reason="needs chromium on PATH and M3IT_AXE=axe.min.js (npm pack axe-core)",
    ),
]


@pytest.fixture(scope="module")
def place(folder, tmp_path_factory) -> pathlib.Path:
    place = tmp_path_factory.mktemp("pages")
    data, run = str(folder.path), str(place / "run")
    for words in (
        ["train", str(CONFIG), "--run-dir", run, f"--data.path={data}", "--data.max_response_len=40", *SMALL],
        ["eval", run, data, "--split", "train", "--controls", "--limit", "1"],
        ["report", run],
        ["stats", data, "--html", str(place / "stats.html")],
        ["browse", data, "--out", str(place / "pages"), "--limit", "20"],
    ):
        assert main.main(words) == 0, words
    (place / "run" / "report.html").rename(place / "report.html")
    return place


@pytest.mark.parametrize(("width", "scheme"), [(360, "light"), (1400, "light"), (1400, "dark")])
@pytest.mark.parametrize("page", PAGES)
def test_a_page_is_whole_at_every_width(place, page, width, scheme) -> None:
    name, _, part = page.partition("#")
    found = pages_in_chromium.look_at(place / name, width, scheme=scheme, part=part)
    assert found["width"] == width
    assert [rule for rule in found["findings"] if rule["impact"] in ("serious", "critical")] == []
    assert found["broken"] == [] and found["scrolls"] == 0 and found["wide"] == []


@pytest.mark.parametrize("width", [360, 1400])
def test_an_opened_record_is_whole(place, width) -> None:
    index = (place / "pages" / "files" / "index.js").read_text("utf-8")
    record_id = json.loads(re.search(r'"id":("[^"]+")', index)[1])
    found = pages_in_chromium.look_at(place / "pages" / "index.html", width, part=f"view=records&id={record_id}")
    assert [rule for rule in found["findings"] if rule["impact"] in ("serious", "critical")] == []
    assert found["broken"] == [] and found["scrolls"] == 0


def test_faults_are_seen(tmp_path) -> None:
    """A page with one fault of each kind, so that a blind check would be noticed."""
    page = tmp_path / "bad.html"
    page.write_text(
        "<!doctype html><html lang='en'><title>t</title><body><main><h1>t</h1>"
        "<p style='width: 2em; overflow-wrap: anywhere'>unbreakable</p><p style='width: 900px'>wide</p>"
        "<p style='color: #ccc; background: #fff'>pale</p></main>"
    )
    found = pages_in_chromium.look_at(page, 360)
    assert "unbreakable" in found["broken"] and found["scrolls"] > 0 and found["wide"]
    assert [rule["id"] for rule in found["findings"] if rule["impact"] == "serious"] == ["color-contrast"]
