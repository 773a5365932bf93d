import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from checkpoint_conversion import small_folders
from checkpoint_conversion.small_folders import STORED

from m3it_jax import checkpointing, errors, safetensors_files
from m3it_jax.checkpoint_conversion.files import new_folder, transfer
from m3it_jax.checkpoint_conversion.folders import exporting, importing

BFLOAT16 = safetensors_files.DTYPES["BF16"]


def given_back(out, hf_dir):
    exporting.convert(exporting.plan(out, shard_bytes=30_000), hf_dir)
    return small_folders.arrays(hf_dir)


def same(found, wanted):
    assert found.keys() == wanted.keys()
    for key, array in wanted.items():
        assert found[key].dtype == array.dtype, key
        np.testing.assert_array_equal(found[key], array, err_msg=key)


@pytest.mark.parametrize("family", small_folders.WHOLE)
def test_in_and_out_gives_the_same_tensors_and_files(tmp_path, family):
    importing.convert(STORED / family, tmp_path / "ours")
    same(given_back(tmp_path / "ours", tmp_path / "hf"), small_folders.arrays(STORED / family))
    for path in (tmp_path / "ours" / "hf").rglob("*"):
        if path.is_file():
            assert (tmp_path / "hf" / path.relative_to(tmp_path / "ours" / "hf")).read_bytes() == path.read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["hf", "ours"]
    params, config, step = checkpointing.restore_params(tmp_path / "ours")
    assert set(params) <= {"vit", "qformer", "projection", "decoder"} and step == 0
    assert config["model"]["variant"] == "imported"


def test_other_spellings_and_shards_give_the_same(tmp_path):
    stored = small_folders.arrays(STORED / "llava")
    folder = small_folders.copy("llava", tmp_path / "five")
    small_folders.rewrite(
        folder, small_folders.renamed(stored, r"^vision_tower\.vision_model", "vision_tower"), shards=3
    )
    importing.convert(folder, tmp_path / "ours")
    same(given_back(tmp_path / "ours", tmp_path / "hf"), stored)


def test_numbers_are_converted_when_asked(tmp_path):
    importing.convert(STORED / "ying_vlm", tmp_path / "ours", dtype=BFLOAT16)
    wanted = {key: array.astype(BFLOAT16) for key, array in small_folders.arrays(STORED / "ying_vlm").items()}
    same(given_back(tmp_path / "ours", tmp_path / "hf"), wanted)
    config = json.loads((tmp_path / "hf" / "config.json").read_text())
    assert config.get("torch_dtype", config.get("dtype")) == "bfloat16"


def test_tied_weights_may_stand_once_or_twice_and_must_agree(tmp_path):
    stored = small_folders.arrays(STORED / "blip2_opt")
    embedding = "language_model.model.decoder.embed_tokens.weight"
    head = "language_model.lm_head.weight"
    twice = {**stored, head: stored[embedding]}
    folder = small_folders.copy("blip2_opt", tmp_path / "twice")
    small_folders.rewrite(folder, twice)
    found = importing.convert(folder, tmp_path / "ours")
    assert head in found.unused and not (tmp_path / "ours" / checkpointing.CARRIED_FILE).exists()
    same(given_back(tmp_path / "ours", tmp_path / "hf"), twice)
    small_folders.rewrite(folder, {key: array for key, array in twice.items() if key != embedding})
    importing.convert(folder, tmp_path / "alone")
    same(given_back(tmp_path / "alone", tmp_path / "hf2"), stored)
    small_folders.rewrite(folder, {**stored, head: stored[embedding] + 1})
    with pytest.raises(errors.UserError, match=rf"{head} must hold the same numbers as {embedding}"):
        importing.convert(folder, tmp_path / "no")
    assert not (tmp_path / "no").exists()


@pytest.fixture
def folder(tmp_path):
    return small_folders.copy("ying_vlm", tmp_path / "in")


def refused(folder, words, *, out="out", **options):
    """Checks that an import is refused in one line, and that nothing stays of it."""
    before = sorted(folder.parent.iterdir())
    with pytest.raises(errors.UserError, match=words) as error:
        importing.convert(folder, folder.parent / out, **options)
    assert "\n" not in str(error.value)
    assert sorted(folder.parent.iterdir()) == before


def test_damaged_and_foreign_weights_are_refused(folder):
    tensors = small_folders.arrays(folder)
    path = folder / "model-00001-of-00001.safetensors"
    key = "language_model.model.norm.weight"
    for change, words in (
        ({**tensors, "language_model.more": tensors[key]}, "in: holds language_model.more, which the model does not"),
        ({name: one for name, one in tensors.items() if name != key}, f"in: lacks {key}"),
        ({**tensors, key: tensors[key][:-1]}, rf"in: {key} has shape \(27,\), its configuration asks for \(28,\)"),
        ({**tensors, key: tensors[key].astype(np.float64)}, rf"{path}: {key} is stored as F64, weights are F32"),
        (
            {**tensors, "model.norm.weight": tensors[key]},
            "in: (model.norm.weight and language_model|language_model.model.norm.weight and model)",
        ),
    ):
        small_folders.rewrite(folder, change)
        refused(folder, words)
    layer = "language_model.model.layers.1.input_layernorm.weight"
    small_folders.rewrite(folder, {**tensors, layer: tensors[layer].astype(np.float16)})
    refused(folder, rf"{layer} is stored as F16, .*layers\.0\.input_layernorm\.weight as F32, and both fill decoder/")
    small_folders.rewrite(folder, tensors, shards=2)
    with open(folder / "model-00002-of-00002.safetensors", "r+b") as file:
        file.truncate(12_000)
    refused(folder, r"model-00002-of-00002\.safetensors: is cut off")
    (folder / "model-00002-of-00002.safetensors").unlink()
    refused(folder, "index.json: names model-00002-of-00002.safetensors, which is not there")


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize(
    ("key", "place"),
    [
        ("language_model.model.layers.1.mlp.down_proj.weight", (3, 5)),  # turned on the way
        ("language_model.model.embed_tokens.weight", (17, 2)),  # copied
        ("vision_model.encoder.layers.2.self_attn.qkv.weight", (30, 4)),  # cut into three
    ],
)
def test_a_number_that_is_none_is_named_with_its_place(folder, key, place, value):
    tensors = small_folders.arrays(folder)
    tensors[key][place] = value
    small_folders.rewrite(folder, tensors)
    refused(folder, rf"\.safetensors: {re.escape(key)}\[{place[0]}, {place[1]}\] is {value}; the weights are damaged")


def test_an_unknown_model_and_a_tokenizer_too_large_are_refused(folder):
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "gpt2"}))
    refused(folder, r"config\.json: model_type='gpt2")
    (folder / "config.json").unlink()
    refused(folder, r"config\.json: cannot be read \(No such file")
    (folder / "config.json").write_text(json.dumps(config))
    values = json.loads((folder / "tokenizer.json").read_text())
    first = values["added_tokens"][0]
    begin = 1 + max(token["id"] for token in values["added_tokens"])
    more = [{**first, "id": number, "content": f"<new{number}>"} for number in range(begin, begin + 500)]
    (folder / "tokenizer.json").write_text(json.dumps({**values, "added_tokens": [*values["added_tokens"], *more]}))
    refused(folder, r"tokenizer\.json: has \d+ pieces, decoder/token_embedding of the weights has room for")


def test_the_place_is_looked_at_before_the_work(folder, monkeypatch):
    (folder.parent / "there").write_text("mine")
    refused(folder, "there: exists already", out="there")
    refused(folder, "out: folder .*none does not exist", out="none/out")
    monkeypatch.setattr(transfer, "run", lambda *args, **kwargs: pytest.fail("the disk was not looked at"))
    usage = shutil.disk_usage(folder)
    monkeypatch.setattr(new_folder.shutil, "disk_usage", lambda place: usage._replace(free=1 << 20))
    refused(folder, "GB are needed and 0.0 GB are free")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_place_without_permission_is_told(folder):
    closed = folder.parent / "closed"
    closed.mkdir(mode=0o500)
    with pytest.raises(errors.UserError, match="cannot be written"):
        importing.convert(folder, closed / "out")


def test_a_full_disk_leaves_nothing(folder, monkeypatch):
    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(transfer.os, "pwrite", full)
    with pytest.raises(OSError, match="No space left"):
        importing.convert(folder, folder.parent / "out")
    assert [path.name for path in folder.parent.iterdir()] == ["in"]


def test_what_a_killed_import_left_is_no_hindrance(folder):
    left = folder.parent / ".out.making" / "folder" / "params"
    left.mkdir(parents=True)
    (left / "vit.safetensors").write_bytes(b"half")
    importing.convert(folder, folder.parent / "out")
    assert sorted(path.name for path in folder.parent.iterdir()) == ["in", "out"]


SLOW = """
import pathlib, sys, time
from m3it_jax.checkpoint_conversion.files import transfer
from m3it_jax.cli import program
begun = pathlib.Path(sys.argv[3])
write = transfer._write
def slowly(*arguments, **named):
    begun.touch()
    time.sleep(0.2)
    write(*arguments, **named)
transfer._write = slowly
sys.argv = ["m3it", "weights", "import", *sys.argv[1:3]]
program.main()
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_leaves_nothing(folder, number):
    begun = folder.parent.parent / f"{folder.parent.name}.begun"
    command = [sys.executable, "-c", SLOW, str(folder), str(folder.parent / "out"), str(begun)]
    root = pathlib.Path(__file__).parents[3]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(root)})
    while not begun.exists() and process.poll() is None:
        time.sleep(0.02)
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 130 and told.splitlines()[-1] == "m3it: interrupted"
    assert [path.name for path in folder.parent.iterdir()] == ["in"]


def test_a_dry_run_writes_nothing_and_says_the_same(folder):
    found = importing.told(importing.describe(folder))
    assert [path.name for path in folder.parent.iterdir()] == ["in"]
    assert found == importing.told(importing.convert(folder, folder.parent / "out"))
    size = sum(array.nbytes for array in small_folders.arrays(folder).values())
    assert found["bytes"] == size and set(found["parts"]) == {"vit", "qformer", "projection", "decoder"}
