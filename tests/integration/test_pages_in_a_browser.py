"""Every page that the project writes, opened in a real browser on a phone and on a desk, in light and in dark.

The pages show a run that was written here; with M3IT_LONG set, one that was trained and evaluated.
"""

import json
import os
import pathlib
import re

import pages_in_chromium
import pytest
from predicted_lines import prediction

from m3it_jax import records
from m3it_jax.analysis import answer_page, sample_page
from m3it_jax.cli import configuration, main
from m3it_jax.evaluation import controls, examples, output, scores, tasks
from m3it_jax.training import loop, setup

CONFIG = pathlib.Path(__file__).resolve().parents[2] / "configs" / "tiny.py"
SMALL = [
    "--num_steps=2",
    "--optimizer.warmup_steps=1",
    "--validation.every=2",
    "--samples.every=2",
    "--data.validation_share=0.1",
    "--data.max_text_len=80",
    "--data.max_response_len=40",
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
        reason="needs chromium on PATH and M3IT_AXE=axe.min.js; launch/test.sh sees to both",
    ),
]


VIEWS = [(page, *view) for page in PAGES for view in ((360, "light"), (1400, "light"), (1400, "dark"))]
BAD = (
    "<!doctype html><html lang='en'><title>t</title><body><main><h1>t</h1>"
    "<p style='width: 2em; overflow-wrap: anywhere'>unbreakable</p><p style='width: 900px'>wide</p>"
    "<p style='color: #ccc; background: #fff'>pale</p></main>"
)


def train_and_evaluate(run: str, data: str) -> None:
    for words in (
        ["train", str(CONFIG), "--run-dir", run, f"--data.path={data}", *SMALL],
        ["eval", run, data, "--split", "train", "--controls", "--limit", "1"],
    ):
        assert main.main(words) == 0, words


class Parrot:
    """Answers as an assistant does, and always the same."""

    def generate_batch(self, requests: list[dict]) -> list[str]:
        return ["a picture with number 3"] * len(requests)


def write_run(run: pathlib.Path, data: records.DataFolder) -> None:
    """Writes what a run and its evaluation leave behind, without a model: the pages are what is looked at."""
    config = configuration.load(str(CONFIG), [f"--data.path={data.path}", *SMALL])
    prepared = setup.prepare(config)
    batch, names = loop.first_batch(prepared, 0)
    sample_page.write(run / "samples" / "0.html", batch, record_ids=names, setup=prepared)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answer_page, "_assistant", lambda *_: Parrot())
        shown = prepared.validation.instances(4)
        answer_page.write(run / "samples" / "2.html", prepared, {}, instances=shown, step=2)
    (run / "config.json").write_text(json.dumps({"num_steps": 2, "data": {"path": str(data.path)}}))
    (run / "env.json").write_text(json.dumps({"versions": {"jax": "0.10.2"}}))
    (run / "metrics.jsonl").write_text('{"step": 1, "train/loss": 6.1}\n{"step": 2, "train/loss": 5.9}\n')
    (run / "perf.jsonl").write_text('{"step": 2, "perf/step_s": 0.25, "perf/tokens_per_s": 4000}\n')
    store = output.EvalFolder(run / "eval" / "2")
    store.claim({"checkpoint": {"step": 2, "params": "abc"}})
    for source in data.sources:
        for number in range(4):
            record = data.table(source, "train").read(number)
            told = {"source": source, "skill": source, "family": "captioning", "references": [record.outputs]}
            told |= {"instruction": record.instruction, "inputs": record.inputs, "group": record.id}
            for variant in (controls.OWN, "blank", "shuffled"):
                answer = record.outputs if variant == controls.OWN and number else "a picture"
                store.append([prediction(number, answer, id=record.id, variant=variant, **told)])
    protocol = tasks.Protocol(split="train", resamples=50)
    store.write(output.SCORES, scores.score(store, protocol))
    examples.write(store, data, protocol=protocol)


@pytest.fixture(scope="module")
def place(folder, tmp_path_factory) -> pathlib.Path:
    place = tmp_path_factory.mktemp("pages")
    data, run = str(folder.path), place / "run"
    if "M3IT_LONG" in os.environ:
        train_and_evaluate(str(run), data)
    else:
        write_run(run, folder)
    for words in (
        ["report", str(run)],
        ["stats", data, "--html", str(place / "stats.html")],
        ["browse", data, "--out", str(place / "pages"), "--limit", "20"],
    ):
        assert main.main(words) == 0, words
    (run / "report.html").rename(place / "report.html")
    (place / "bad.html").write_text(BAD)
    return place


@pytest.fixture(scope="module")
def seen(place) -> dict[tuple[str, int, str], dict]:
    """What the browser found, by page, width and scheme; it is started once."""
    index = (place / "pages" / "files" / "index.js").read_text("utf-8")
    record_id = json.loads(re.search(r'"id":("[^"]+")', index)[1])
    record = f"pages/index.html#view=records&id={record_id}"
    wanted = {key: key for key in VIEWS}
    wanted |= {("record", width, "light"): (record, width, "light") for width in (360, 1400)}
    wanted[("bad", 360, "light")] = ("bad.html", 360, "light")
    views = []
    for page, width, scheme in wanted.values():
        name, _, part = page.partition("#")
        views.append(pages_in_chromium.View(place / name, width, scheme=scheme, part=part))
    return dict(zip(wanted, pages_in_chromium.look_at(views), strict=True))


@pytest.mark.parametrize(("page", "width", "scheme"), [*VIEWS, ("record", 360, "light"), ("record", 1400, "light")])
def test_a_page_is_whole_at_every_width(seen, page, width, scheme) -> None:
    found = seen[page, width, scheme]
    assert found["width"] == width
    assert [rule for rule in found["findings"] if rule["impact"] in ("serious", "critical")] == []
    assert found["broken"] == [] and found["scrolls"] == 0 and found["wide"] == []


def test_light_and_dark_are_two_papers(seen) -> None:
    papers = {scheme: {seen[page, 1400, scheme]["paper"] for page in PAGES} for scheme in ("light", "dark")}
    assert not papers["light"] & papers["dark"], papers


def test_faults_are_seen(seen) -> None:
    """A page with one fault of each kind, so that a blind check would be noticed."""
    found = seen["bad", 360, "light"]
    assert "unbreakable" in found["broken"] and found["scrolls"] > 0 and found["wide"]
    assert [rule["id"] for rule in found["findings"] if rule["impact"] == "serious"] == ["color-contrast"]
