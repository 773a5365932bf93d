"""Build, check, train, stop, resume, evaluate, answer, chat, report: every verb on what the one before it left."""

import io
import json
import pathlib

import in_process
import pytest

import m3it_jax
from m3it_jax.cli import main
from m3it_jax.dataset_building import workers

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
SOURCES = ("shapes-vqa", "video-digits")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A data folder and a run that was stopped once, in the layout of the quick start."""
    place = tmp_path_factory.mktemp("whole_path")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(workers, "Workers", in_process.Workers)
        patch.setattr(workers, "count", in_process.count)
        assert main.main(["mini", str(place / "data"), "--edition", "base", "--limit", "12"]) == 0
    mixture = [f"--data.mixture.{name}=1" for name in SOURCES]
    train = [
        "train",
        str(ROOT / "configs" / "tiny.py"),
        "--run-dir",
        str(place / "stage2"),
        f"--data.path={place}/data",
    ]
    # Eight rows of either kind of step, one for each of the eight devices.
    train += [
        *mixture,
        "--data.global_batch_size=8",
        "--data.max_images=64",
        "--optimizer.warmup_steps=0",
        "--checkpoint.every=2",
        "--log.every=1",
        "--num_steps=4",
    ]
    assert main.main(train) == 0
    assert main.main(train) == 0, "a finished run says so and is no error"
    return place


@pytest.fixture(scope="module")
def scores(place: pathlib.Path) -> dict:
    words = ["eval", str(place), "--data", str(place / "data"), "--out", str(place / "stage2" / "eval" / "4")]
    assert main.main([*words, "--tasks", "shapes-vqa", "video-direction", "--limit", "3", "--controls"]) == 0
    return json.loads((place / "stage2" / "eval" / "4" / "scores.json").read_text(encoding="utf-8"))


@pytest.mark.slow
def test_data_folder_is_sound_until_a_byte_is_flipped(place, tmp_path, capsys):
    data = place / "data"
    assert main.main(["check", str(data), "--json", str(tmp_path / "check.json")]) == 0
    assert json.loads((tmp_path / "check.json").read_text()) == {"ok": True, "problems": []}
    shard = sorted(data.glob("digits-vqa/*/*.tfrecord-*[0-9]"))[0]
    whole = shard.read_bytes()
    shard.write_bytes(whole[:400] + bytes([whole[400] ^ 1]) + whole[401:])
    try:
        assert main.main(["check", str(data), "--json", str(tmp_path / "check.json")]) == 1
    finally:
        shard.write_bytes(whole)
    found = json.loads((tmp_path / "check.json").read_text())
    assert not found["ok"] and any(shard.name in problem["file"] for problem in found["problems"])
    capsys.readouterr()


@pytest.mark.slow
def test_counts_are_those_of_the_data(place, tmp_path, capsys):
    assert main.main(["stats", str(place / "data"), "--json", str(tmp_path / "stats.json")]) == 0
    assert "shapes-vqa" in capsys.readouterr().out
    assert "shapes-vqa" in (tmp_path / "stats.json").read_text()


@pytest.mark.slow
def test_run_folder_holds_what_is_promised(place):
    run = place / "stage2"
    for name in ("config.json", "env.json", "metrics.jsonl", "tokenizer.model", "checkpoints/4", "samples", "tb"):
        assert (run / name).exists(), name
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in rows] == [1, 2, 3, 4]
    assert all("train/loss" in row for row in rows)
    assert not [name for row in rows for name in row if name.startswith("perf/")], "wall-clock figures never repeat"


@pytest.mark.slow
def test_scores_stand_beside_their_controls(scores):
    assert set(scores["tasks"]) - set(scores["families"]) == {"shapes-vqa", "video-direction"} and scores["lock"]
    assert set(scores["families"]) == {"vqa", "video"} <= set(scores["tasks"])
    for metrics in scores["tasks"].values():
        for score in metrics.values():
            assert set(score["controls"]) == {"blank", "shuffled", "majority"}
            assert 0 <= score["low"] <= score["value"] <= score["high"] <= 100 and score["n"] > 0


@pytest.mark.slow
def test_held_out_pictures_can_be_asked_again(place, scores, tmp_path, capsys):
    folder = place / "stage2" / "eval" / "4" / "examples"
    examples = json.loads((folder / "examples.json").read_text(encoding="utf-8"))
    for example in (min(examples, key=lambda row: len(row["files"])), max(examples, key=lambda row: len(row["files"]))):
        words = ["generate", str(place), "--instruction", example["instruction"], "--inputs", example["inputs"]]
        for file in example["files"]:
            words += ["--image", str(folder / file)]
        assert main.main([*words, "--json", str(tmp_path / "answer.json")]) == 0
        answer = json.loads((tmp_path / "answer.json").read_text(encoding="utf-8"))["answer"]
        assert answer == example["prediction"], "the same picture and question get the answer that was scored"
        assert answer in capsys.readouterr().out


@pytest.mark.slow
def test_python_surface_answers_as_the_program(place, scores):
    folder = place / "stage2" / "eval" / "4" / "examples"
    example = json.loads((folder / "examples.json").read_text(encoding="utf-8"))[0]
    assistant = m3it_jax.load(str(place))
    images = [folder / file for file in example["files"]]
    request = {"instruction": example["instruction"], "inputs": example["inputs"], "images": images}
    assert assistant.generate(**request) == example["prediction"]
    assert assistant.generate_batch([request, request]) == [example["prediction"]] * 2
    assert assistant.log_likelihood(response=example["reference"], **request) < 0


@pytest.mark.slow
def test_chat_works_through_a_pipe(place, scores, monkeypatch, capsys):
    picture = next((place / "stage2" / "eval" / "4" / "examples").glob("*.png"))
    monkeypatch.setattr("sys.stdin", io.StringIO(f"/image {picture}\nWhat is in the picture?\n/new\n/quit\n"))
    capsys.readouterr()
    assert main.main(["chat", str(place)]) == 0
    shown = capsys.readouterr()
    answer = m3it_jax.load(str(place)).generate("What is in the picture?", images=[picture])
    assert shown.out.splitlines() == [answer] and "1 picture shown" in shown.err


@pytest.mark.slow
def test_report_is_one_self_contained_page(place, scores, capsys):
    assert main.main(["report", str(place)]) == 0
    page = (place / "report.html").read_text(encoding="utf-8")
    assert "shapes-vqa" in page and "data:image/png;base64," in page
    assert not [word for word in ('src="http', 'href="http', "<link", "@import") if word in page], "no network needed"
    assert capsys.readouterr().out.strip().endswith("report.html")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (["eval", "{place}/none", "--data", "{place}/data"], 1, "none"),
        (["eval", "{place}", "--data", "{place}/stage2"], 1, "m3it.json"),
        (["generate", "{place}", "--image", "{place}/none.png", "--instruction", "What?"], 1, "none.png"),
        (["generate", "{place}", "--image", "{place}/data/README.md", "--instruction", "What?"], 1, "README.md"),
        (["check", "{place}/none"], 1, "none"),
        (["train", "{root}/configs/tiny.py", "--run-dir", "{place}/new", "--data.path={place}/none"], 1, "none"),
        (["train", "{root}/configs/tiny.py", "--run-dir", "{place}/stage2", "--data.path={place}/data"], 1, "stage2"),
        (["train", "{root}/configs/tiny.py", "--run-dir", "{place}/new", "--num_steps=0"], 2, "num_steps"),
        (["eval", "{place}", "--data", "{place}/data", "--tasks", "nothing"], 2, "nothing"),
    ],
    ids=[
        "no-checkpoint",
        "no-data",
        "no-picture",
        "text-as-picture",
        "no-folder",
        "no-data-folder",
        "other-run",
        "no-steps",
        "no-task",
    ],
)
def test_wrong_input_is_one_line(place, capfd, words, code, told):
    capfd.readouterr()
    assert main.main([word.format(place=place, root=ROOT) for word in words]) == code
    shown = [line for line in capfd.readouterr().err.splitlines() if line.startswith("m3it: ")]
    assert len(shown) == 1 and told in shown[0]
