"""The report: one page that needs nothing else, says what is in the folder, and hides nothing that is wrong."""

import html.parser
import json
import math
import pathlib

import pytest
from PIL import Image

from m3it_jax import errors
from m3it_jax.analysis import run_report
from m3it_jax.evaluation import output, scores, tasks

VOID = {"meta", "img", "br"}


def write_run(folder: pathlib.Path, *, steps: int, rate: float) -> None:
    folder.mkdir(parents=True)
    config = {"num_steps": steps, "data": {"path": "nowhere"}, "optimizer": {"learning_rate": rate}}
    (folder / "config.json").write_text(json.dumps(config))
    (folder / "env.json").write_text(json.dumps({"versions": {"jax": "0.10.2"}}))
    lines = [{"step": step, "train/loss": 4 * math.exp(-step / 20)} for step in range(0, steps + 1, 10)]
    (folder / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder / "perf.jsonl").write_text('{"step": 10, "perf/step_s": 0.25, "perf/tokens_per_s": 4000}\n')


def prediction(number: int, text: str, **changed) -> dict:
    row = {"id": str(number), "source": "one", "number": number, "skill": "digit", "family": "vqa", "language": "en"}
    row |= {"group": str(number), "references": ["3"], "variant": "own", "prediction": text}
    row |= {"id": f"{changed.get('skill', 'digit')}-{number}", "instruction": "Which digit?", "inputs": ""}
    return {**row, **changed}


def write_evaluation(folder: pathlib.Path) -> output.EvalFolder:
    store = output.EvalFolder(folder)
    store.claim({"checkpoint": {"step": 100, "params": "abc"}})
    store.append(prediction(number, "3") for number in range(20))
    store.append(prediction(number, "4", variant="blank") for number in range(20))
    store.append(prediction(number, "3", skill="digit-zh", family="chinese") for number in range(20))
    store.append(prediction(number, "3", skill="digit-zh", family="chinese", variant="blank") for number in range(20))
    store.write(output.SCORES, scores.score(store, tasks.Protocol(resamples=50)))
    pictures = folder / output.EXAMPLES
    pictures.mkdir()
    shown = []
    for number, (answer, right) in enumerate([("3", True), ("<script>alert(1)</script>", False)]):
        Image.new("RGB", (64, 64), (number, 0, 0)).save(pictures / f"{number}.png")
        shown.append(
            {"files": [f"{number}.png"], "id": str(number), "skill": "digit", "family": "vqa", "language": "en"}
            | {"instruction": "Which digit?", "inputs": "", "reference": "3", "prediction": answer, "right": right}
        )
    store.write("examples/examples.json", shown)
    return store


@pytest.fixture
def quickstart(tmp_path: pathlib.Path) -> pathlib.Path:
    run = tmp_path / "quickstart"
    write_run(run / "stage1", steps=50, rate=0.001)
    write_run(run / "stage2", steps=100, rate=0.0005)
    write_evaluation(run / "stage2" / "eval" / "100")
    (run / "phases.json").write_text('[{"phase": "data", "seconds": 44.4}, {"phase": "stage1", "seconds": 100}]')
    (run / "data").mkdir()
    manifest = {"name": "m3it-mini", "edition": "base", "sources": {"one": {"splits": {"train": 1234, "test": 20}}}}
    (run / "data" / "m3it.json").write_text(json.dumps(manifest))
    return run


class Checker(html.parser.HTMLParser):
    """Collects what a page loads and what is wrong with its tags."""

    def __init__(self):
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.text = ""
        self.tags: list[str] = []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.loads += [value for name, value in attributes if name in ("src", "href", "srcset")]
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data + " "


def page_of(folder: pathlib.Path) -> Checker:
    path = run_report.write(folder)
    content = path.read_text(encoding="utf-8")
    assert len(content.encode()) < 3_000_000
    checker = Checker()
    checker.feed(content)
    checker.text = " ".join(checker.text.split())
    checker.content = content
    assert not checker.open
    return checker


def test_the_page_is_whole_and_loads_nothing(quickstart: pathlib.Path) -> None:
    page = page_of(quickstart)
    assert all(value.startswith("data:image/") for value in page.loads)
    assert len(page.loads) == 2
    assert not {"script", "link", "iframe"} & set(page.tags)
    assert "url(" not in page.content and "@import" not in page.content


def test_answers_are_text_and_wrong_ones_are_marked(quickstart: pathlib.Path) -> None:
    page = page_of(quickstart)
    assert "&lt;script&gt;alert(1)" in page.content
    assert page.content.count('class="card wrong"') == 1
    assert page.content.count('class="card"') == 1


def test_families_below_their_controls_are_named(quickstart: pathlib.Path) -> None:
    page = page_of(quickstart)
    assert "Families that do not beat every control: Chinese (blank)." in page.text
    assert "Skills that do not beat every control: digit-zh (blank)" in page.text
    assert "families that beat every control 1 of 2" in page.text and "skills that beat every control" in page.text


def test_both_stages_their_differences_and_times(quickstart: pathlib.Path) -> None:
    page = page_of(quickstart)
    assert page.tags.count("polyline") == 4
    assert "step (optimiser updates)" in page.text and "loss, nats a token (log scale)" in page.text
    (row,) = [row for row in page.content.split("<tr") if "optimizer.learning_rate" in row]
    assert row.startswith(' class="differ"') and "0.001" in row and "0.0005" in row
    assert "0.25 s a step" in page.text and "4,000 tokens a second" in page.text
    assert "time, all phases 2 min 24 s" in page.text and "1 min 40 s" in page.text


def test_the_small_edition_says_so_and_another_does_not(quickstart: pathlib.Path) -> None:
    said = "It is not the M3IT of 2.4 million instances"
    assert said in page_of(quickstart).text
    assert "1,234 training records" in page_of(quickstart).text
    manifest = quickstart / "data" / "m3it.json"
    manifest.write_text(manifest.read_text().replace("m3it-mini", "m3it"))
    assert said not in page_of(quickstart).text


def test_a_run_folder_without_evaluation(tmp_path: pathlib.Path) -> None:
    write_run(tmp_path / "run", steps=50, rate=0.1)
    page = page_of(tmp_path / "run")
    assert "There is no evaluation yet" in page.text
    assert page.tags.count("polyline") == 2


def test_a_run_that_has_just_begun(tmp_path: pathlib.Path) -> None:
    write_run(tmp_path / "run", steps=50, rate=0.1)
    (tmp_path / "run" / "metrics.jsonl").unlink()
    (tmp_path / "run" / "perf.jsonl").unlink()
    assert "No loss is logged yet." in page_of(tmp_path / "run").text


def test_an_evaluation_without_controls_claims_nothing(quickstart: pathlib.Path) -> None:
    store = output.EvalFolder(quickstart / "stage2" / "eval" / "200")
    store.claim({"checkpoint": {"step": 200}})
    store.append([prediction(0, "3")])
    store.write(output.SCORES, scores.score(store, tasks.Protocol(resamples=50)))
    page = page_of(quickstart)
    assert "No controls were run" in page.text
    assert "families above all controls" not in page.text
    assert "step 200." in page.text  # the newest evaluation


def test_a_torn_last_line_is_passed_over_and_a_damaged_one_told(quickstart: pathlib.Path) -> None:
    metrics = quickstart / "stage2" / "metrics.jsonl"
    whole = metrics.read_text()
    metrics.write_text(whole + '{"step": 110, "tra')
    page_of(quickstart)
    metrics.write_text("{broken\n" + whole)
    with pytest.raises(errors.UserError, match="metrics.jsonl:1: is no JSON"):
        run_report.write(quickstart)


def test_many_large_pictures_stay_within_the_limit(quickstart: pathlib.Path) -> None:
    folder = quickstart / "stage2" / "eval" / "100" / "examples"
    Image.effect_noise((900, 600), 80).save(folder / "0.png")
    index = json.loads((folder / "examples.json").read_text())
    (folder / "examples.json").write_text(json.dumps([{**index[0], "files": ["0.png"] * 8}] * 60))
    page = page_of(quickstart)
    assert 8 <= len(page.loads) < 480
    assert all(value.startswith("data:image/jpeg") for value in page.loads)


def test_another_folder_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.UserError, match="is no run folder .*--run-dir"):
        run_report.write(tmp_path)


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(0.44, "0.4 s"), (52.4, "52 s"), (59.7, "1 min 0 s"), (532, "8 min 52 s"), (3900, "1 h 5 min")],
)
def test_duration(seconds: float, words: str) -> None:
    assert run_report.duration(seconds) == words


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("stage2/config.json", "[]"),
        ("stage2/config.json", '{"data": 3}'),
        ("stage2/env.json", "[]"),
        ("stage2/metrics.jsonl", '{"train/loss": 1.0}\n'),
        ("stage2/metrics.jsonl", "[]\n"),
        ("stage2/metrics.jsonl", '{"step": 1, "train/loss": "low"}\n'),
        ("stage2/metrics.jsonl", b"\xff\xfe\n"),
        ("stage2/perf.jsonl", '{"perf/step_s": []}\n'),
        ("stage2/eval/100/scores.json", "{}"),
        ("stage2/eval/100/scores.json", '{"tasks": {"vqa": {}}, "families": {"vqa": {}}, "lock": {}}'),
        ("stage2/eval/100/scores.json", '{"tasks": [], "families": {}, "lock": {}}'),
        ("stage2/eval/100/examples/examples.json", "{}"),
        ("stage2/eval/100/examples/examples.json", "[3]"),
        ("phases.json", '[{"phase": "data"}]'),
        ("phases.json", "[3]"),
        ("data/m3it.json", '{"sources": []}'),
    ],
)
def test_a_damaged_file_is_named(quickstart: pathlib.Path, file: str, content: str | bytes) -> None:
    (quickstart / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    name = file if file.startswith("data") else pathlib.Path(file).name
    page = quickstart if name != "metrics.jsonl" else quickstart / "stage2"
    with pytest.raises(errors.UserError, match=name.replace(".", r"\.")) as told:
        run_report.write(page)
    assert "\n" not in str(told.value)


def change_example(quickstart: pathlib.Path, **changed) -> None:
    index = quickstart / "stage2" / "eval" / "100" / "examples" / "examples.json"
    first, *others = json.loads(index.read_text())
    index.write_text(json.dumps([{**first, **changed}, *others]))


def test_an_example_of_an_unknown_family_is_told(quickstart: pathlib.Path) -> None:
    change_example(quickstart, family="zzz")
    with pytest.raises(errors.UserError, match="examples.json: .*zzz"):
        run_report.write(quickstart)


@pytest.mark.parametrize("name", ["../secret.png", "{}", "..", "", "link.png"])
def test_a_picture_outside_the_examples_is_not_shown(quickstart: pathlib.Path, tmp_path: pathlib.Path, name) -> None:
    Image.new("RGB", (8, 8)).save(tmp_path / "secret.png")
    examples = quickstart / "stage2" / "eval" / "100" / "examples"
    Image.new("RGB", (8, 8)).save(examples.parent / "secret.png")
    (examples / "link.png").symlink_to(tmp_path / "secret.png")
    change_example(quickstart, files=[name.format(tmp_path / "secret.png")])
    with pytest.raises(errors.UserError, match="no plain file name|is no picture"):
        run_report.write(quickstart)


def test_a_family_whose_controls_are_left_out_is_not_counted_as_above_them(quickstart: pathlib.Path) -> None:
    store = output.EvalFolder(quickstart / "stage2" / "eval" / "100")
    store.append([prediction(99, "3", skill="digit-zh", family="chinese")])
    store.write(output.SCORES, scores.score(store, tasks.Protocol(resamples=50)))
    assert "families that beat every control 1 of 1" in page_of(quickstart).text
