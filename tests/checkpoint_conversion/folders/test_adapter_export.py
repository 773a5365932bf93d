"""Adapters in PEFT's layout: what peft computes with our file equals what our layers compute with the adapter."""

import hashlib
import json
import os
import pathlib
import subprocess

import jax
import numpy as np
import pytest
import reference_goldens

from m3it_jax import adapter_weights, errors, parameter_paths
from m3it_jax.checkpoint_conversion.folders import adapter_export
from m3it_jax.models import vlm
from m3it_jax.training import adapters

STORED = pathlib.Path(__file__).parents[2] / "golden" / "peft"
SCRIPT = pathlib.Path(__file__).parents[2] / "reference" / "apply_adapter.py"
# Family -> kernels: one family whose names differ in memory and in files, one with an encoder and cross-attention.
TARGETS = {
    "llava": (r"decoder/blocks/(attn|mlp)/.*/kernel", r"projection/up", r"decoder/head"),
    "blip2_t5": (r"decoder/(encoder/)?blocks/(attn|cross_attn)/(query|value|out)", r"projection", r"qformer/.*/query"),
}
RANK = 3


def adapted(family: str):
    """Returns (variant, {path: array} with adapters that are all at random)."""
    variant, params = reference_goldens.parameters_of(family)
    like = adapters.Adapters(RANK, 5.0, 0.1, TARGETS[family])
    leaves = parameter_paths.flatten(params)
    rng = np.random.default_rng(4)
    for path, leaf in sorted(parameter_paths.flatten(adapters.added(params, like)).items()):
        if path.endswith(f"/{adapter_weights.SCALE}"):
            leaves[path] = np.full(leaf.shape, 5.0 / RANK, np.float32)
        elif adapter_weights.kernel_of(path):
            leaves[path] = rng.normal(0.0, 0.2, leaf.shape).astype(np.float32)
    return variant, leaves


def exported(family: str, out: pathlib.Path) -> pathlib.Path:
    variant, leaves = adapted(family)
    adapter_export.write(out, *adapter_export.made(leaves, variant))
    return out


@pytest.mark.parametrize("family", TARGETS)
def test_peft_computes_with_the_file_what_our_layers_do(family, tmp_path) -> None:
    with np.load(STORED / f"{family}.npz") as arrays:
        theirs = dict(arrays)
    file = exported(family, tmp_path / "adapter") / adapter_export.WEIGHTS
    assert hashlib.sha256(file.read_bytes()).hexdigest() == str(theirs["sha256"]), "peft has read another file"
    stored = reference_goldens.golden(family)
    variant, leaves = adapted(family)
    batch = reference_goldens.batch_of(stored) | {k: stored[k] for k in ("decoder_ids",) if k in stored}
    model = jax.jit(vlm.make_vlm(variant).apply)
    for name, held in (("logits", leaves), ("merged", adapter_weights.merged(leaves))):
        logits = np.asarray(model({"params": parameter_paths.unflatten(held)}, batch))
        found = np.take_along_axis(logits, stored["logit_positions"][:, :, None], axis=1)
        assert np.abs(found - theirs[name]).max() <= reference_goldens.LOGITS, name
        assert np.abs(found - stored["logits"]).max() > 0.1, "the adapter changes something"


@pytest.mark.torch
@pytest.mark.slow
@pytest.mark.parametrize("family", TARGETS)
def test_peft_gives_what_is_stored(family, tmp_path) -> None:
    python = os.environ.get("M3IT_PEFT_PYTHON", "")
    if not python:
        pytest.skip("M3IT_PEFT_PYTHON names no interpreter with torch, transformers and peft")
    folder = exported(family, tmp_path / "adapter")
    out = tmp_path / "out.npz"
    command = [python, str(SCRIPT), str(reference_goldens.STORED / family), str(folder), str(out)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    with np.load(out) as found, np.load(STORED / f"{family}.npz") as theirs:
        assert str(found["sha256"]) == str(theirs["sha256"])
        np.testing.assert_allclose(found["logits"], theirs["logits"], atol=1e-5)


def test_the_configuration_names_each_module_and_the_scale(tmp_path) -> None:
    config = json.loads((exported("llava", tmp_path / "adapter") / adapter_export.CONFIG).read_text())
    assert (config["r"], config["lora_alpha"], config["peft_type"]) == (3, pytest.approx(5.0), "LORA")
    assert {"model.language_model.layers.1.self_attn.q_proj", "lm_head"} <= set(config["target_modules"])
    with pytest.raises(errors.UserError, match="already"):
        exported("llava", tmp_path / "adapter")


def test_a_kernel_that_is_joined_with_others_there_is_refused() -> None:
    variant, params = reference_goldens.parameters_of("blip2_t5")
    like = adapters.Adapters(2, 4.0, 0.0, (r"vit/blocks/attn/query",))
    leaves = parameter_paths.flatten(adapters.added(params, like))
    leaves = {path: np.zeros(leaf.shape, np.float32) for path, leaf in leaves.items()}
    with pytest.raises(errors.UserError, match=r"vit/blocks/attn/query/kernel: is joined with others"):
        adapter_export.made(leaves, variant)
