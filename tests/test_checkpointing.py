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
