"""`m3it train`: what is wrong is refused before anything is written, and a new start leaves nothing of the old."""

import pathlib
import shutil

import pytest

from m3it_jax.cli import main
from m3it_jax.training import data_changes, loop

CONFIG = str(pathlib.Path(__file__).resolve().parent.parent.parent / "configs" / "tiny.py")


@pytest.fixture
def words(folder, tmp_path) -> list[str]:
    sizes = ["--data.max_text_len=80", "--data.max_response_len=40"]
    return ["train", CONFIG, "--run-dir", str(tmp_path / "run"), f"--data.path={folder.path}", *sizes]


def test_a_wrong_table_writes_nothing(words, tmp_path, capsys) -> None:
    assert main.main([*words, "--trainable=(('vit/.*', True),)"]) == 2
    assert "no row matches parameter" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_dry_run_says_what_the_run_would_say(words, tmp_path, capsys) -> None:
    assert main.main([*words, "--dry-run"]) == 0
    assert "decoder" in capsys.readouterr().out
    page = tmp_path / "run" / "samples" / "0.html"
    assert [path for path in (tmp_path / "run").rglob("*") if path.is_file()] == [page]
    assert "Training rows" in page.read_text("utf-8")
    shutil.rmtree(tmp_path / "run")
    assert main.main([*words, "--dry-run", "--init_from.vit=/nope"]) == 1
    assert "/nope: no checkpoint here" in capsys.readouterr().err
    assert main.main([*words, "--dry-run", "--trainable=(('vit/.*', False), ('.*', True))"]) == 2
    assert "freezes vit, which starts at random" in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_the_page_of_the_first_rows_is_that_of_the_run_that_began(words, tmp_path, monkeypatch) -> None:
    def first_batch_alone(config, setup, run_dir, *, on_first_batch, on_samples) -> int:
        on_first_batch(setup.pipeline.batch(0), setup.pipeline.record_ids(0))
        return config.num_steps

    monkeypatch.setattr(loop, "run", first_batch_alone)
    monkeypatch.setattr(data_changes, "check", lambda *_: None)
    page = tmp_path / "run" / "samples" / "0.html"
    page.parent.mkdir(parents=True)
    page.write_text("of a try before")
    assert main.main(words) == 0
    assert "of a try before" not in page.read_text()
    (tmp_path / "run" / "checkpoints" / "3").mkdir(parents=True)
    page.write_text("of the first step")
    assert main.main(words) == 0
    assert page.read_text() == "of the first step"


@pytest.mark.slow
def test_a_run_says_what_it_does_and_shows_answers(words, tmp_path, capsys) -> None:
    asked = ["--num_steps=2", "--optimizer.warmup_steps=0", "--samples.every=1", "--samples.num_records=2"]
    asked += ["--data.mixture={'ones': 1}", "--validation.every=2", "--validation.num_steps=1"]
    assert main.main([*words, *asked]) == 0
    told = capsys.readouterr().err
    assert "device       8 x cpu" in told
    assert "parameters trained, 0 frozen" in told
    assert "40 training records; 40 validation records (ones)" in told
    assert f"run folder   {tmp_path / 'run'}: starts at step 0 of 2" in told
    pages = sorted(path.name for path in (tmp_path / "run" / "samples").iterdir())
    assert pages == ["0.html", "1.html", "2.html"]
    page = (tmp_path / "run" / "samples" / "2.html").read_text("utf-8")
    assert "Answers at step 2" in page and "2 records held back" in page and "a picture with number" in page
    assert main.main([*words, *asked]) == 0
    assert "resumes at step 2 of 2" in capsys.readouterr().err
