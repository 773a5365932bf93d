import json

import jax
import numpy as np
import pytest

from m3it_jax import checkpointing, errors, parameter_paths, safetensors_files, sharding

LEAVES = {
    "vit/class_token": np.arange(8, dtype=np.float16),
    "decoder/blocks/mlp/up/kernel": np.arange(2 * 8 * 4, dtype=np.float16).reshape(2, 8, 4),
}


@pytest.fixture
def imported(tmp_path):
    (tmp_path / "params").mkdir()
    (tmp_path / "config.json").write_text(json.dumps({"model": {"variant": "imported"}}))
    for path, leaf in LEAVES.items():
        safetensors_files.write(tmp_path / "params" / f"{path.split('/')[0]}.safetensors", {path: leaf})
    return tmp_path


def test_imported_weights_are_a_checkpoint_whose_arrays_stay_on_disk(imported):
    location = checkpointing.locate(imported)
    assert location.is_imported and location.run == imported and location.step == 0
    params, config, step = checkpointing.restore_params(imported)
    assert config["model"]["variant"] == "imported" and step == 0
    for path, leaf in parameter_paths.flatten(params).items():
        np.testing.assert_array_equal(leaf, LEAVES[path])
        assert not leaf.flags.writeable and isinstance(leaf.base, np.memmap)


def test_another_run_may_start_from_one_part_of_them(imported):
    assert list(checkpointing.load_part(str(imported), "vit")) == ["vit/class_token"]
    shapes = checkpointing.part_shapes(str(imported), "all")
    assert shapes == {path: leaf.shape for path, leaf in LEAVES.items()}
    with pytest.raises(errors.UserError, match="holds no part 'qformer'; it holds decoder, vit"):
        checkpointing.load_part(str(imported), "qformer")


def test_a_damaged_file_of_them_is_named(imported):
    with open(imported / "params" / "vit.safetensors", "r+b") as file:
        file.truncate(70)
    with pytest.raises(errors.UserError, match=r"vit\.safetensors: .*cut off"):
        checkpointing.restore_params(imported)


@pytest.mark.parametrize("dtype", ["float16", "float32", "bfloat16"])
@pytest.mark.parametrize("rules", ["single", "fsdp", "fsdp_tp"])
def test_every_device_gets_its_share(imported, dtype, rules):
    mesh = sharding.make_mesh(data=2, fsdp=2, tensor=2)
    params, _, _ = checkpointing.restore_params(imported)
    places = sharding.parameter_shardings(params, mesh, sharding.PRESETS[rules])
    placed = jax.tree.map(lambda leaf, place: checkpointing.placed(leaf, np.dtype(dtype), place), params, places)
    for path, leaf in parameter_paths.flatten(placed).items():
        np.testing.assert_array_equal(np.asarray(leaf), LEAVES[path].astype(dtype))
    kernel = placed["decoder"]["blocks"]["mlp"]["up"]["kernel"]
    assert kernel.dtype == dtype
    wanted = {"single": (2, 8, 4), "fsdp": (2, 4, 4), "fsdp_tp": (2, 4, 2)}[rules]
    assert {shard.data.shape for shard in kernel.addressable_shards} == {wanted}


def test_a_save_compiles_nothing_for_small_arrays_that_every_device_holds(tmp_path, lowered):
    whole = jax.device_put(np.arange(64.0, dtype=np.float32).reshape(8, 8), sharding.replicated(sharding.make_mesh()))
    jax.block_until_ready(whole)
    jax.clear_caches()
    lowered.clear()
    manager = checkpointing.open_manager(tmp_path, 1)
    checkpointing.save(manager, 1, {"params": {"part": {"kernel": whole}}}, position={})
    assert not lowered
    restored, _ = checkpointing.restore(manager, 1, {"params": {"part": {"kernel": whole}}})
    np.testing.assert_array_equal(restored["params"]["part"]["kernel"], whole)
    manager.close()


def _saved(run, *steps):
    manager = checkpointing.open_manager(run, keep=9)
    for step in steps:
        checkpointing.save(manager, step, {"params": {"part": {"kernel": np.full(64, float(step))}}}, position={})
    manager.close()
    (run / "config.json").write_text("{}")
    return run / "checkpoints"


def _flip(folder):
    path = max((path for path in folder.rglob("*") if path.is_file()), key=lambda path: path.stat().st_size)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 4
    path.write_bytes(data)


def test_a_flipped_bit_is_refused_by_name_when_a_checkpoint_is_used(tmp_path):
    folder = _saved(tmp_path, 1, 2)
    kernel = checkpointing.restore_params(tmp_path)[0]["part"]["kernel"]
    np.testing.assert_array_equal(kernel, np.full(64, 2.0))
    _flip(folder / "2" / "params")
    with pytest.raises(errors.UserError, match=r"checkpoints/2: params/.* is damaged .*take an earlier step"):
        checkpointing.restore_params(tmp_path)
    assert checkpointing.restore_params(folder / "1")[0]["part"]["kernel"][0] == 1.0


def test_training_goes_on_from_the_newest_sound_step_and_keeps_the_broken_ones(tmp_path):
    folder = _saved(tmp_path, 1, 2, 3)
    _flip(folder / "2")
    (folder / "3" / "hashes.json").unlink()  # killed between the last array and the hashes
    assert checkpointing.newest_step(tmp_path) == 2
    told = checkpointing.set_aside_broken(tmp_path)
    assert len(told) == 2 and "checkpoints/3: hashes.json is missing, so the save was cut off" in told[0]
    assert "checkpoints/2: " in told[1] and "is kept as broken-2" in told[1]
    assert checkpointing.newest_step(tmp_path) == 1 and checkpointing.set_aside_broken(tmp_path) == []
    manager = checkpointing.open_manager(tmp_path, keep=9)
    assert manager.latest_step() == 1
    checkpointing.save(manager, 2, {"params": {"part": {"kernel": np.full(64, 7.0)}}}, position={})
    manager.close()
    assert checkpointing.restore_params(tmp_path)[0]["part"]["kernel"][0] == 7.0
    _flip(folder / "2")
    checkpointing.set_aside_broken(tmp_path)
    assert {path.name for path in folder.iterdir()} >= {"1", "broken-2", "broken-2-2", "broken-3"}


def test_a_run_whose_every_step_is_damaged_does_not_begin_anew(tmp_path):
    folder = _saved(tmp_path, 1)
    _flip(folder / "1")
    with pytest.raises(errors.UserError, match=r"checkpoints/1: .*is damaged.*no earlier step is left"):
        checkpointing.set_aside_broken(tmp_path)
    assert (folder / "1").exists()


def test_a_checkpoint_from_before_the_hashes_is_still_taken(tmp_path):
    folder = _saved(tmp_path, 1)
    (folder / "1" / "hashes.json").unlink()
    place = folder / "1" / "position" / "metadata"
    place.write_text(
        json.dumps({name: value for name, value in json.loads(place.read_text()).items() if name != "hashed"})
    )
    assert checkpointing.newest_step(tmp_path) == 1 and checkpointing.set_aside_broken(tmp_path) == []
    assert checkpointing.restore_params(tmp_path)[0]["part"]["kernel"][0] == 1.0
