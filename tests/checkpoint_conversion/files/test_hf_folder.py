import json

import numpy as np
import pytest

from m3it_jax import errors, safetensors_files
from m3it_jax.checkpoint_conversion.files import hf_folder

SHARDS = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
INDEX = "model.safetensors.index.json"


def write(folder, name, *keys):
    safetensors_files.write(folder / name, {key: np.zeros(2, np.float32) for key in keys})


@pytest.fixture
def sharded(tmp_path):
    write(tmp_path, SHARDS[0], "a", "b")
    write(tmp_path, SHARDS[1], "c")
    listed = {"a": SHARDS[0], "b": SHARDS[0], "c": SHARDS[1]}
    (tmp_path / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": listed}))
    return tmp_path


def read(folder):
    files = hf_folder.weight_files(folder)
    return hf_folder.tensors(files, index=hf_folder.index_of(files))


def test_shards_are_read_by_their_index_and_without_it(sharded):
    assert list(read(sharded)) == ["a", "b", "c"]
    (sharded / INDEX).unlink()
    assert list(read(sharded)) == ["a", "b", "c"]


def test_safetensors_come_before_pickled_files_and_leftovers_of_trainers_are_no_weights(tmp_path):
    for name in ("pytorch_model.bin", "training_args.bin", "optimizer.pt"):
        (tmp_path / name).write_bytes(b"x")
    assert hf_folder.weight_files(tmp_path) == [tmp_path / "pytorch_model.bin"]
    write(tmp_path, "model.safetensors", "a")
    assert hf_folder.weight_files(tmp_path) == [tmp_path / "model.safetensors"]
    assert hf_folder.weight_files(tmp_path / "pytorch_model.bin") == [tmp_path / "pytorch_model.bin"]


LEFTOVERS = [
    "rng_state.pth",
    "rng_state_0.pth",
    "random_states_0.pt",
    "optimizer.bin",
    "optimizer_1.bin",
    "scheduler.bin",
    "adapter_model.safetensors",
    "adapter_model.bin",
    "model.fp16.safetensors",
    "model.fp16.safetensors.index.json",
    "pytorch_model.fp16.bin",
    "pytorch_model.fp16-00001-of-00002.bin",
    "._model.safetensors",
    "._model-00001-of-00002.safetensors",
    "._pytorch_model.bin",
    "zero_pp_rank_0_mp_rank_00_optim_states.pt",
    "mm_projector.bin",
]


@pytest.mark.parametrize("kind", ["safetensors", "sharded safetensors", "bin"])
def test_what_transformers_passes_over_is_passed_over(tmp_path, sharded, kind):
    wanted = [sharded / name for name in SHARDS]
    if kind != "sharded safetensors":
        for path in sharded.iterdir():
            path.unlink()
        wanted = [sharded / {"safetensors": "model.safetensors", "bin": "pytorch_model.bin"}[kind]]
        write(sharded, wanted[0].name, "a")
    for name in LEFTOVERS:
        (sharded / name).write_bytes(b"x")
    assert hf_folder.weight_files(sharded) == wanted
    index = sharded / INDEX if kind == "sharded safetensors" else None
    assert hf_folder.index_of(wanted) == index


@pytest.mark.parametrize("leftover", LEFTOVERS[:-1])
def test_a_leftover_alone_is_no_model(tmp_path, leftover):
    (tmp_path / leftover).write_bytes(b"{}")
    with pytest.raises(
        errors.UserError, match=r"holds no weights|adapter and no whole model|copy in another precision"
    ):
        hf_folder.weight_files(tmp_path)


@pytest.mark.parametrize("without", [None, "index", "shards"])
def test_one_file_beside_shards_is_refused_and_both_are_named(sharded, without):
    write(sharded, "model.safetensors", "a", "b", "c")
    if without == "index":
        (sharded / INDEX).unlink()
    for name in SHARDS if without == "shards" else ():
        (sharded / name).unlink()
    other = SHARDS[0] if without == "index" else INDEX
    with pytest.raises(
        errors.UserError, match=rf"has model\.safetensors and (the shard )?{other}, two sets of weights"
    ):
        hf_folder.weight_files(sharded)


def test_one_pickled_file_beside_an_index_is_refused(tmp_path):
    (tmp_path / "pytorch_model.bin").write_bytes(b"x")
    (tmp_path / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": {"a": "pytorch_model-1.bin"}}))
    with pytest.raises(errors.UserError, match=r"pytorch_model\.bin and pytorch_model\.bin\.index\.json"):
        hf_folder.weight_files(tmp_path)


def test_an_index_may_name_the_one_file(tmp_path):
    write(tmp_path, "model.safetensors", "a")
    (tmp_path / INDEX).write_text(json.dumps({"weight_map": {"a": "model.safetensors"}}))
    assert list(read(tmp_path)) == ["a"]


POINTER = "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a214614ab2935\nsize 12345\n"


def test_a_pointer_of_git_lfs_is_told(sharded):
    (sharded / SHARDS[1]).write_text(POINTER)
    with pytest.raises(errors.UserError, match=rf"{SHARDS[1]}: is a Git LFS pointer .*git lfs pull"):
        hf_folder.weight_files(sharded)
    (sharded / INDEX).write_text(POINTER)
    with pytest.raises(errors.UserError, match=rf"{INDEX}: is a Git LFS pointer"):
        hf_folder.weight_files(sharded)


def test_a_byte_order_mark_is_no_part_of_the_json(tmp_path):
    (tmp_path / "config.json").write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert hf_folder.read_json(tmp_path / "config.json") == {"a": 1}
    (tmp_path / "config.json").write_bytes('{"a": 1}'.encode("utf-16"))
    with pytest.raises(errors.UserError, match="is no JSON"):
        hf_folder.read_json(tmp_path / "config.json")


def test_a_missing_shard_is_named(sharded):
    (sharded / SHARDS[1]).unlink()
    with pytest.raises(errors.UserError, match=rf"{INDEX}: names {SHARDS[1]}, which is not there"):
        read(sharded)
    (sharded / INDEX).unlink()
    with pytest.raises(errors.UserError, match=f"lacks {SHARDS[1]} beside {SHARDS[0]}"):
        read(sharded)


@pytest.mark.parametrize(
    ("listed", "words"),
    [
        ({"a": SHARDS[0], "b": SHARDS[0]}, "does not name the shard model-00002"),
        ({"a": SHARDS[0], "b": SHARDS[0], "c": SHARDS[0], "d": SHARDS[1]}, "puts c into model-00001.*does not hold it"),
        ({"a": SHARDS[0], "c": SHARDS[1]}, "holds b, which .* does not list"),
        ({"a": "../model.safetensors"}, "names ../model.safetensors, which is no file beside it"),
        ({"a": 3}, "has no weight_map"),
        ([], "has no weight_map"),
        ({}, "has no weight_map"),
    ],
)
def test_an_index_that_says_something_else_is_refused(sharded, listed, words):
    (sharded / INDEX).write_text(json.dumps({"weight_map": listed}))
    with pytest.raises(errors.UserError, match=words):
        read(sharded)


def test_one_key_in_two_files_is_refused(tmp_path):
    write(tmp_path, "one.safetensors", "a")
    write(tmp_path, "two.safetensors", "a")
    with pytest.raises(errors.UserError, match=r"two\.safetensors: holds a, which one\.safetensors holds too"):
        read(tmp_path)


def test_a_place_without_weights_says_what_is_wanted(tmp_path):
    with pytest.raises(errors.UserError, match="holds no weights"):
        hf_folder.weight_files(tmp_path)
    with pytest.raises(errors.UserError, match="no such folder"):
        hf_folder.weight_files(tmp_path / "none")


@pytest.mark.parametrize("text", ["{", "[]", '{"a":' * 100_000, "\xff"])
def test_broken_json_is_told_in_one_line(tmp_path, text):
    (tmp_path / "config.json").write_bytes(text.encode("latin-1"))
    with pytest.raises(errors.UserError, match=r"config\.json: (is no JSON|holds no JSON object)"):
        hf_folder.read_json(tmp_path / "config.json")
