import json
import shutil

import numpy as np
import pytest
from checkpoint_conversion import small_folders
from checkpoint_conversion.small_folders import STORED

from m3it_jax import checkpointing, errors, parameter_paths, safetensors_files
from m3it_jax.checkpoint_conversion.folders import exporting, importing
from m3it_jax.models import variants


def as_run(imported, run, *, step=7):
    """Makes a run folder with the parameters, the model and the tokenizer of imported weights."""
    params, _, _ = checkpointing.restore_params(imported)
    manager = checkpointing.open_manager(run, 1)
    checkpointing.save(manager, step, {"params": params}, position={})
    manager.close()
    variants.write(variants.read(imported), run)
    (run / "config.json").write_text(json.dumps({"model": {"variant": "elsewhere"}}))
    for path in imported.glob("*tokenizer*"):
        shutil.copyfile(path, run / path.name)
    return run


@pytest.mark.parametrize("family", ["ying_vlm", "blip2_opt", "llava"])
def test_a_run_is_written_from_its_variant(tmp_path, family):
    importing.convert(STORED / family, tmp_path / "ours")
    run = as_run(tmp_path / "ours", tmp_path / "run")
    found = exporting.plan(run)
    exporting.convert(found, tmp_path / "hf")
    wanted, made = small_folders.arrays(STORED / family), small_folders.arrays(tmp_path / "hf")
    for key, array in made.items():
        if key in wanted and found.family == family and "post_layernorm" not in key:
            np.testing.assert_array_equal(array, wanted[key], err_msg=key)
    ours = tmp_path / "again"
    importing.convert(tmp_path / "hf", ours)
    theirs, again = (parameter_paths.flatten(checkpointing.restore_params(one)[0]) for one in (run, ours))
    assert theirs.keys() == again.keys()
    for path, leaf in theirs.items():
        np.testing.assert_array_equal(again[path], leaf, err_msg=path)
    assert "run, step 7" in (tmp_path / "hf" / "README.md").read_text()
    assert (tmp_path / "hf" / "generation_config.json").is_file()


def test_shards_hold_no_more_than_asked_and_the_index_names_all(tmp_path):
    importing.convert(STORED / "ying_vlm", tmp_path / "ours")
    found = exporting.plan(tmp_path / "ours", shard_bytes=20_000)
    exporting.convert(found, tmp_path / "hf")
    listed = json.loads((tmp_path / "hf" / "model.safetensors.index.json").read_text())
    sizes = {}
    for name, group in found.shards.items():
        header = safetensors_files.read_header(tmp_path / "hf" / name)
        assert [listed["weight_map"][key] for key in header] == [name] * len(header) and len(header) == len(group)
        sizes[name] = sum(one.num_bytes for one in header.values())
        assert sizes[name] <= 20_000 or len(header) == 1
    assert listed["metadata"]["total_size"] == sum(sizes.values()) and len(sizes) > 3


def test_a_checkpoint_that_lacks_a_parameter_is_refused(tmp_path):
    importing.convert(STORED / "ying_vlm", tmp_path / "ours")
    (tmp_path / "ours" / "params" / "projection.safetensors").unlink()
    with pytest.raises(errors.UserError, match=r"ours: parameter projection/\w+ is missing, the model needs"):
        exporting.plan(tmp_path / "ours")
    with pytest.raises(errors.UserError, match="no checkpoint here"):
        exporting.plan(tmp_path / "none")


def test_the_certificate_goes_along(tmp_path):
    importing.convert(STORED / "ying_vlm", tmp_path / "ours")
    (tmp_path / "ours" / exporting.CERTIFICATE).write_text("{}")
    exporting.convert(exporting.plan(tmp_path / "ours"), tmp_path / "hf")
    assert (tmp_path / "hf" / exporting.CERTIFICATE).read_text() == "{}"
    with pytest.raises(errors.UserError, match="hf: exists already"):
        exporting.convert(exporting.plan(tmp_path / "ours"), tmp_path / "hf")
