"""The stored Hugging Face folders of every family, and copies of them with something changed."""

import json
import pathlib
import re
import shutil

import numpy as np

from m3it_jax import safetensors_files

STORED = pathlib.Path(__file__).parents[1] / "golden" / "hf"
WHOLE = ("blip2_opt", "blip2_t5", "ying_vlm", "instructblip_llama", "instructblip_t5", "llava")


def arrays(folder):
    """Returns {key: array} of all safetensors files of a folder, in memory."""
    found = {}
    for path in sorted(pathlib.Path(folder).glob("*.safetensors")):
        found |= {key: np.array(one.mapped()) for key, one in safetensors_files.read_header(path).items()}
    return found


def copy(family, folder):
    """Copies a stored folder, to be changed."""
    shutil.copytree(STORED / family, folder)
    return folder


def rewrite(folder, tensors, *, shards=1):
    """Writes tensors in place of the weights of a folder."""
    for path in folder.glob("*.safetensors*"):
        path.unlink()
    keys = sorted(tensors)
    names = [f"model-{number + 1:05d}-of-{shards:05d}.safetensors" for number in range(shards)]
    listed = {key: names[number * shards // len(keys)] for number, key in enumerate(keys)}
    for name in names:
        safetensors_files.write(folder / name, {key: tensors[key] for key in keys if listed[key] == name})
    if shards > 1:
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": listed}))


def renamed(tensors, pattern, replacement):
    """Returns tensors under other names."""
    return {re.sub(pattern, replacement, key): array for key, array in tensors.items()}
