"""`m3it train` on packed rows: one shape, exact resume, named refusals, the page of the first rows."""

import json
import pathlib
import shutil

import numpy as np
import pytest

from m3it_jax import checkpointing, parameter_paths
from m3it_jax.cli import main

CONFIG = str(pathlib.Path(__file__).resolve().parent.parent.parent / "configs" / "tiny.py")
PACKED = ["--data.packing=rows", "--data.row_len=300", "--data.row_images=10", "--data.global_batch_size=8"]


@pytest.fixture
def words(folder, tmp_path, monkeypatch) -> list[str]:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    sizes = ["--data.max_text_len=80", "--data.max_response_len=40", "--optimizer.warmup_steps=0"]
    return ["train", CONFIG, f"--data.path={folder.path}", *sizes, *PACKED]


def metrics(run: pathlib.Path) -> list[dict]:
    return [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.slow
def test_a_packed_run_has_one_shape_and_resumes_to_the_last_bit(words, tmp_path, capsys):
    steps = ["--num_steps=4", "--checkpoint.every=2", "--log.every=1", "--validation.every=4"]
    steps += ["--validation.num_steps=1"]
    whole, parted = tmp_path / "whole", tmp_path / "parted"
    assert main.main([*words, *steps, "--run-dir", str(whole)]) == 0
    told = capsys.readouterr().err
    assert "compiled     the step for 1 shape of a batch" in told
    assert "packing      rows of 300 tokens" in told
    shutil.copytree(whole, parted)
    shutil.rmtree(parted / "checkpoints" / "4")  # as if it had been killed after step 2
    assert main.main([*words, *steps, "--run-dir", str(parted)]) == 0
    assert metrics(parted) == metrics(whole)
    for path, leaf in parameter_paths.flatten(checkpointing.restore_params(whole)[0]).items():
        other = parameter_paths.flatten(checkpointing.restore_params(parted)[0])[path]
        np.testing.assert_array_equal(np.asarray(leaf), np.asarray(other), err_msg=path)
    last = metrics(whole)[-1]
    assert {"validation/loss", "validation/picture_share"} <= last.keys()
    first = metrics(whole)[0]
    assert {"train/loss/ones", "train/loss/films", "data/pad_share", "data/image_balance"} <= first.keys()
    assert first["data/records_per_row"] > 2 and 0 < first["data/picture_share"] <= 1
    capsys.readouterr()
    changed = [*words, *steps, "--num_steps=6", "--run-dir", str(whole)]
    assert main.main([*changed, "--data.row_len=320"]) == 1
    told = capsys.readouterr().err
    assert "other data (packing changed)" in told and "--accept-data-change" in told
    assert (
        main.main(
            [*words, "--checkpoint.every=2", "--num_steps=4", "--validation.every=4", "--log.every=1"]
            + ["--validation.num_steps=1", "--run-dir", str(whole), "--data.row_len=320", "--accept-data-change"]
        )
        == 0
    )
    assert json.loads((whole / "data_changes.json").read_text())[0]["changed"] == "packing"


def test_a_dry_run_writes_the_page_of_the_first_packed_rows(words, tmp_path, capsys):
    run = tmp_path / "run"
    assert main.main([*words, "--run-dir", str(run), "--dry-run"]) == 0
    assert "packing      rows of 300 tokens" in capsys.readouterr().out
    assert [path.name for path in run.rglob("*") if path.is_file()] == ["0.html"]
    page = (run / "samples" / "0.html").read_text("utf-8")
    assert page.count("<article>") == 4 and "Shared by 2 records" in page and "what it sees" in page


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--data.row_len=12"], "data.row_len=12: must be from 16"),
        (["--data.row_len=40"], "records of source 'films' would lose a picture or a part of the answer within"),
        (["--data.row_images=4"], "16 records of source 'films' would lose a picture"),
        (["--data.max_text_len=20", "--data.max_response_len=12", "--data.too_long=error"], "do not fit whole within"),
        (["--data.max_text_len=15", "--data.max_response_len=9", "--data.too_long=drop"], "no record of source"),
        (["--data.mixture={'ones': float('nan')}"], "data.mixture"),
        (["--data.mixture.ones=nan"], "data.mixture={'ones': nan}: must be"),
        (["--data.mixture.ones=0"], "data.mixture['ones']=0"),
        (["--data.mixture.ones=-1"], "data.mixture['ones']=-1"),
        (["--data.mixture.ones=inf"], "data.mixture={'ones': inf}: must be"),
        (["--data.mixture.one=1"], "did you mean 'ones'?"),
        (["--objective=vit_tower"], "has one picture a row and no text to pack"),
        (["--data.packing=none"], "data.row_images=10: is of packed rows"),
        (["--data.packing=row"], "data.packing='row': must be one of none, off, rows, records"),
        (["--data.row_images=0", "--data.max_images=4"], "data.max_images=4: leaves no picture for each of"),
    ],
)
def test_what_cannot_be_packed_is_named(words, tmp_path, capsys, more, told):
    assert main.main([*words, *more, "--run-dir", str(tmp_path / "run"), "--dry-run"]) in (1, 2)
    error = capsys.readouterr().err
    assert told in error and "Traceback" not in error
    assert not (tmp_path / "run").exists()


def test_what_is_too_long_is_left_out_and_counted(words, tmp_path, capsys):
    more = ["--data.row_images=4", "--data.too_long=drop", "--data.mixture={'ones': 1, 'films': 1}"]
    assert main.main([*words, *more, "--run-dir", str(tmp_path / "run"), "--dry-run"]) == 1
    assert "no record of source 'films' is left" in capsys.readouterr().err
