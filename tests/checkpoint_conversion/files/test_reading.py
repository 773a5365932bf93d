import json
import subprocess

import numpy as np
import pytest
from checkpoint_conversion import small_folders
from checkpoint_conversion.small_folders import STORED

from m3it_jax import checkpointing, errors, parameter_paths, safetensors_files
from m3it_jax.checkpoint_conversion.files import pickles, reading, sources
from m3it_jax.checkpoint_conversion.folders import importing

TO_PICKLES = """
import json, sys, torch
from safetensors.torch import load_file
folder = sys.argv[1]
state = load_file(folder + "/model.safetensors")
keys = sorted(state)
names = ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"]
listed = {key: names[number % 2] for number, key in enumerate(keys)}
for name in names:
    torch.save({key: state[key] for key in keys if listed[key] == name}, folder + "/" + name)
json.dump({"weight_map": listed}, open(folder + "/pytorch_model.bin.index.json", "w"))
"""


def test_other_names_are_brought_to_the_canonical_ones(tmp_path):
    arrays = {"new.q_bias": np.ones(2, np.float32), "new.v_bias": np.ones(2, np.float32)}
    safetensors_files.write(tmp_path / "model.safetensors", arrays)
    found = reading.tensors(tmp_path, [(r"new\.(.+)", r"old.\1")], scratch=tmp_path)
    assert list(found) == ["old.qkv.bias"]
    np.testing.assert_array_equal(sources.whole(found["old.qkv.bias"]), [1, 1, 0, 0, 1, 1])


def test_shards_of_llama_need_no_pickle(tmp_path):
    for number in range(2):
        half = {"output.weight": np.full((2, 3), number, np.float32), "norm.weight": np.ones(3, np.float32)}
        safetensors_files.write(tmp_path / f"consolidated.0{number}.safetensors", half)
    found = reading.tensors(tmp_path, [], scratch=tmp_path)
    np.testing.assert_array_equal(sources.whole(found["lm_head.weight"])[:, 0], [0, 0, 1, 1])
    np.testing.assert_array_equal(sources.whole(found["model.norm.weight"]), np.ones(3))


@pytest.mark.parametrize(
    ("listed", "told"),
    [
        ({"a": 1, "b": 1, "c": 2, "gone": 2}, "gone is in no file; fetch the files again"),
        ({"a": 1, "c": 2}, "b is in a file and not in the index; fetch the files again"),
        ({"a": 1, "b": 1, "c": 2}, ""),
    ],
)
def test_an_index_of_pickled_shards_must_name_what_they_hold(tmp_path, monkeypatch, listed, told):
    names = {number: f"pytorch_model-{number:05d}-of-00002.bin" for number in (1, 2)}
    held = {names[1]: ("a", "b"), names[2]: ("c",)}

    def convert(files, *_, **__):  # in the place of a process that has torch
        shape = ("F32", (2,))
        return [pickles.Contents(path, dict.fromkeys(held[path.name], shape), (), None) for path in files]

    monkeypatch.setattr(pickles, "convert", convert)
    for name in held:
        (tmp_path / name).write_bytes(b"pickle")
    index = tmp_path / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"weight_map": {key: names[number] for key, number in listed.items()}}))
    if not told:
        assert reading.tensors(tmp_path, [], scratch=tmp_path, is_dry=True).keys() == {"a", "b", "c"}
        return
    with pytest.raises(errors.UserError) as raised:
        reading.tensors(tmp_path, [], scratch=tmp_path, is_dry=True)
    assert str(raised.value) == f"{index}: {told}"


@pytest.mark.torch
@pytest.mark.slow
def test_pickled_shards_give_the_same_as_safetensors(tmp_path, monkeypatch, reference_python):
    monkeypatch.setenv(pickles.PYTHON_VARIABLE, reference_python)
    folder = small_folders.copy("ying_vlm", tmp_path / "in")
    subprocess.run([reference_python, "-c", TO_PICKLES, str(folder)], check=True)
    (folder / "model.safetensors").unlink()
    told = importing.told(importing.describe(folder))
    importing.convert(folder, tmp_path / "ours")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "ours"]
    importing.convert(STORED / "ying_vlm", tmp_path / "wanted")
    ours, wanted = (
        parameter_paths.flatten(checkpointing.restore_params(tmp_path / name)[0]) for name in ("ours", "wanted")
    )
    assert ours.keys() == wanted.keys() and told["parts"].keys() == {path.split("/")[0] for path in ours}
    for path, leaf in wanted.items():
        np.testing.assert_array_equal(ours[path], leaf)
    index = folder / "pytorch_model.bin.index.json"
    listed = json.loads(index.read_text())["weight_map"]
    del listed["query_tokens"]
    index.write_text(json.dumps({"weight_map": listed}))
    with pytest.raises(errors.UserError, match="query_tokens is in a file and not in the index"):
        importing.describe(folder)
