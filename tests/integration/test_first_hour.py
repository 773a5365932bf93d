"""The first hour of a new user: every command is copied from the docs and runs in a fresh shell.

The model is the quick start's in size and vocabulary, untrained. With M3IT_LONG set, the repository is cloned and the
quick start itself makes it, and its suggestions are run as they are printed.
"""

import io
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys

import pyarrow
import pyarrow.parquet
import pytest
from PIL import Image, ImageDraw

from m3it_jax import checkpointing, file_safety
from m3it_jax.cli import configuration, main
from m3it_jax.training import loop, run_folder, setup

ROOT = pathlib.Path(__file__).resolve().parents[2]
STORED = ROOT / "tests" / "golden" / "hf"
KINDS = ("sun", "house", "tree", "boat")

pytestmark = pytest.mark.slow


def commands(name: str) -> str:
    """Returns the commands of docs/finetune.md under `tested: NAME`."""
    text = (ROOT / "docs" / "finetune.md").read_text("utf-8")
    found = re.search(rf"<!-- tested: {name} -->\n```bash\n(.*?)```", text, re.DOTALL)
    assert found, name
    return found[1]


def documented(command: str) -> str:
    """Returns a command that stands in the README or the docs, as it stands there."""
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
    assert any(command in page.read_text("utf-8").splitlines() for page in pages), f"no page has: {command}"
    return command


def drawing(number: int) -> Image.Image:
    picture = Image.new("RGB", (96, 96), "white")
    pen, left, top = ImageDraw.Draw(picture), 5 * (number % 5), 3 * (number // 4)
    if number % 4 == 0:
        pen.ellipse((left + 20, top + 20, left + 60, top + 60), fill="gold")
    elif number % 4 == 1:
        pen.polygon([(left + 15, top + 40), (left + 65, top + 40), (left + 40, top + 15)], fill="red")
    elif number % 4 == 2:
        pen.ellipse((left + 15, top + 10, left + 65, top + 50), fill="green")
    else:
        pen.polygon([(left + 10, top + 50), (left + 70, top + 50), (left + 40, top + 70)], fill="navy")
    return picture


def draw(place: pathlib.Path) -> None:
    """Writes 20 drawings in each of the three forms that the page tells of."""
    for folder in ("drawings", "captions"):
        (place / folder).mkdir()
    rows, cells = [], []
    for number in range(20):
        picture, kind, name = drawing(number), KINDS[number % 4], f"{number:02}"
        for folder in ("drawings", "captions"):
            picture.save(place / folder / f"{name}.png")
        (place / "captions" / f"{name}.txt").write_text(f"a drawing of a {kind}")
        talk = [("human", "<image>\nWhat did I draw?"), ("gpt", f"a {kind}")]
        talk = [{"from": who, "value": text} for who, text in talk]
        rows.append({"id": str(number), "image": f"{name}.png", "conversations": talk})
        file = io.BytesIO()
        picture.save(file, "PNG")
        encoded = {"bytes": file.getvalue(), "path": f"{name}.png"}
        cells.append({"image": encoded, "question": "What did I draw?", "answer": f"a {kind}"})
    (place / "drawings.json").write_text(json.dumps(rows))
    pyarrow.parquet.write_table(pyarrow.Table.from_pylist(cells), place / "drawings.parquet")


def make_model(run: pathlib.Path, data: str) -> None:
    """Saves the quick start's model as its stage 2 leaves it, without the training."""
    config = configuration.load(
        str(ROOT / "configs" / "stage1_align.py"), [f"--data.path={data}", "--data.mixture={'ones': 1}"]
    )
    config.data.max_text_len, config.data.max_response_len = 80, 40
    prepared = setup.prepare(config)
    with file_safety.held(run, doing="training", instead="--run-dir"):
        run_folder.write_config(config, run)
        run_folder.write_env(run, prepared.tokenizer_path)
        manager = checkpointing.open_manager(run, 1)
        loop.save(manager, prepared, loop.Progress(setup.initial_state(config, prepared), {}, 1))
        manager.close()


@pytest.fixture(scope="module")
def clone(folder, tmp_path_factory) -> pathlib.Path:
    """A fresh clone after its quick start, with the user's drawings in it."""
    place = tmp_path_factory.mktemp("first") / "hour"
    if "M3IT_LONG" in os.environ:
        subprocess.run(["git", "clone", "-q", str(ROOT), str(place)], check=True)
        words = documented("bash launch/quickstart.sh").split()
        done = subprocess.run(words, cwd=place, capture_output=True, text=True, check=True)
        (place / "said.txt").write_text(done.stderr)
    else:
        place.mkdir()
        shutil.copytree(ROOT / "configs", place / "configs", ignore=shutil.ignore_patterns("__pycache__"))
        program = place / ".venv" / "bin" / "m3it"
        program.parent.mkdir(parents=True)
        program.write_text(f'#!/bin/sh\nexec {sys.executable} -m m3it_jax "$@"\n')
        program.chmod(0o755)
        make_model(place / "runs" / "quickstart" / "stage2", str(folder.path))
    draw(place)
    return place


def shell(clone: pathlib.Path, script: str) -> subprocess.CompletedProcess:
    """Runs commands as a user in a fresh shell does, in the folder of the clone and with its environment on PATH."""
    environment = {
        "PATH": f"{clone}/.venv/bin:/usr/local/bin:/usr/bin:/bin",
        "HOME": str(clone),
        "JAX_PLATFORMS": "cpu",
        "XLA_FLAGS": os.environ["XLA_FLAGS"],  # quick to compile, as conftest.py has it
    }
    environment["JAX_COMPILATION_CACHE_DIR"] = str(clone.parent / "compiled")
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script], cwd=clone, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def test_own_rows_are_imported_trained_on_evaluated_and_asked_about(clone) -> None:
    assert len(commands("llava").splitlines()) == 4
    done = shell(clone, commands("llava"))
    manifest = json.loads((clone / "data" / "mine" / "m3it.json").read_text())
    assert next(iter(manifest["sources"].values()))["splits"] == {"train": 16, "test": 4}
    losses = [json.loads(line) for line in (clone / "runs" / "mine" / "metrics.jsonl").read_text().splitlines()]
    assert [row["step"] for row in losses if "train/loss" in row][-1] == 50
    assert losses[0]["train/loss"] > 2 * losses[-2]["train/loss"], "it learns"
    assert any("validation/loss" in row for row in losses), "held-back pictures are looked at"
    assert "14 training records; 2 validation records" in done.stderr
    assert {"0.html", "50.html"} <= {path.name for path in (clone / "runs" / "mine" / "samples").iterdir()}
    scores = json.loads(next((clone / "runs" / "mine" / "eval").glob("*/scores.json")).read_text())
    assert scores["coverage"] == {"answered": 4, "records": 4}
    assert done.stdout.splitlines()[-1].startswith("a "), "chat answers as the rows do"
    asked = json.loads((clone / "runs" / "mine" / "asked.json").read_text())
    assert "What did I draw?" in f"{asked[0]['instruction']} {asked[0]['inputs']}"


@pytest.mark.parametrize("form", ["captions", "parquet"])
def test_the_other_forms_of_data_are_imported_and_fit(clone, form) -> None:
    done = shell(clone, commands(form))
    assert "decoder" in done.stdout and "300 steps over drawings" in done.stdout


@pytest.mark.parametrize("family", ["llava", "blip2_opt"])
def test_imported_weights_take_the_place_of_the_small_model(clone, tmp_path, folder, family, capsys) -> None:
    assert main.main(["weights", "import", str(STORED / family), str(tmp_path / "weights")]) == 0
    words = ["train", str(ROOT / "configs" / "finetune.py") + ":large", "--run-dir", str(tmp_path / "run")]
    words += [f"--data.path={folder.path}", f"--init_from.all={tmp_path / 'weights'}", "--dry-run"]
    words += ["--mesh.data=-1", "--mesh.fsdp=1"]  # eight fake devices do not divide widths as small as these
    assert main.main(words) == 0, capsys.readouterr().err
    assert "projection" in capsys.readouterr().out


def test_the_model_answers_about_a_drawn_picture(clone) -> None:
    shutil.copy(clone / "drawings" / "00.png", clone / "photo.png")
    asked = documented('m3it generate runs/quickstart --image photo.png --instruction "What is in the picture?"')
    assert shell(clone, asked).stdout.count("\n") == 1


@pytest.mark.skipif("M3IT_LONG" not in os.environ, reason="M3IT_LONG is not set: the quick start takes ten minutes")
def test_the_suggestions_of_the_quick_start_work_as_they_are_printed(clone) -> None:
    said = (clone / "said.txt").read_text()
    generate, chat = said[said.index("Try next:") :].splitlines()[1:3]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(clone)}
    for command in (generate, f"echo 'which digit is this?' | {chat}"):
        done = subprocess.run(["bash", "-c", command], cwd="/", env=environment, capture_output=True, text=True)
        assert done.returncode == 0 and done.stdout.strip(), done.stderr
