"""`model.tiles` from the door to the answer: refused, drawn, trained, loaded, asked, and not exported."""

import io
import json

import numpy as np
import pytest
from PIL import Image

import m3it_jax
from m3it_jax.cli import main

PACKED = ["--data.packing=rows", "--data.row_len=200", "--data.row_images=8", "--data.global_batch_size=8"]


def page(seed: int, width: int = 200, height: int = 120) -> bytes:
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture(scope="module")
def asked(tmp_path_factory, tiny):
    """The beginning of a command that trains on pages, which `tiny` cuts into a row of two tiles, and on small ones."""
    records = [tiny.instance("ones", n, images=(page(n // 2),) if n < 12 else (page(n, 60, 40),)) for n in range(16)]
    pairs = [tiny.instance("pairs", n, images=(page(50 + n), page(60 + n))) for n in range(6)]
    folder = tiny.write_folder(tmp_path_factory.mktemp("pages"), {"ones": records, "pairs": pairs})
    sizes = ["--data.max_text_len=80", "--data.max_response_len=40", "--checkpoint.every=2", "--num_steps=2"]
    more = ["--optimizer.warmup_steps=1", "--model.tiles=4"]
    return ["train", "configs/tiny.py", f"--data.path={folder.path}", *sizes, *more]


@pytest.fixture(scope="module")
def run(asked, tmp_path_factory):
    run = tmp_path_factory.mktemp("runs") / "tiled"
    assert main.main([*asked, *PACKED, "--run-dir", str(run)]) == 0
    return run


@pytest.mark.slow
def test_a_run_with_tiles_is_trained_resumed_and_asked(run, asked, capsys):
    rows = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert np.isfinite(rows[-1]["train/loss"])
    assistant = m3it_jax.load(run)
    assert assistant.sampler.layout.tiling.most == 4
    assert len(assistant.sampler.prepare(_request(page(3))).pictures) == 3
    assert isinstance(assistant.generate("What is this?", images=[page(3)], max_new_tokens=2), str)
    capsys.readouterr()
    assert main.main([*asked, *PACKED, "--model.tiles=3", "--run-dir", str(run)]) == 1
    assert "other data (tiles changed)" in capsys.readouterr().err
    assert main.main(["weights", "export", str(run), str(run / "hf"), "--dry-run"]) == 1
    error = capsys.readouterr().err
    assert "was trained with model.tiles=4, and no family that is exported cuts pictures so" in error
    assert "Traceback" not in error and not (run / "hf").exists()


def _request(picture: bytes):
    from m3it_jax.generation.request import Request

    return Request("What is this?", images=[picture])


@pytest.mark.parametrize("packing", [PACKED, ["--data.global_batch_size=8", "--data.max_images=40"]])
def test_a_dry_run_draws_the_tiles(asked, tmp_path, packing, capsys):
    run = tmp_path / "run"
    assert main.main([*asked, *packing, "--run-dir", str(run), "--dry-run"]) == 0
    text = (run / "samples" / "0.html").read_text("utf-8")
    assert "was cut into tiles" in text and 'style="grid-template-columns:repeat(2,auto)"' in text
    assert text.count('class="tile"') >= 3


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--model.tiles=0"], "model.tiles=0: must be from 1 (no picture is cut) to 64"),
        (["--model.tiles=-1"], "model.tiles=-1: must be from 1"),
        (["--model.tiles=65"], "model.tiles=65: must be from 1"),
        (["--model.tiles=two"], "model.tiles"),
        (["--model.tiles=2.5"], "model.tiles"),
        (["--data.max_images=4"], "data.max_images=4: a picture of model.tiles=4 takes 5 slots with its overview; set"),
        ([*PACKED, "--data.row_images=4"], "data.row_images=4: a picture of model.tiles=4 takes 5 slots with its over"),
        ([*PACKED, "--data.row_images=0", "--data.max_images=32"], "data.max_images=32: a picture of model.tiles=4"),
        (["--objective=vit_tower"], "model.tiles=4: objective=vit_tower shows no picture in tiles"),
        (["--data.picture_as=captions"], "model.tiles=4: data.picture_as=captions shows no picture in tiles"),
        ([*PACKED, "--data.row_len=30"], "would lose a picture or a part of the answer"),
    ],
)
def test_what_cannot_be_cut_is_named(asked, tmp_path, capsys, more, told):
    assert main.main([*asked, *more, "--run-dir", str(tmp_path / "run"), "--dry-run"]) in (1, 2)
    error = capsys.readouterr().err
    assert told in error and "Traceback" not in error
    assert not (tmp_path / "run").exists()
