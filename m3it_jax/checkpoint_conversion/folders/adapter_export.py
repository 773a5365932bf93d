"""The adapters of a run in PEFT's layout, which `peft.PeftModel.from_pretrained(model, FOLDER)` reads.

    FOLDER/adapter_config.json          rank, alpha, dropout and the modules that carry an adapter
    FOLDER/adapter_model.safetensors    base_model.model.<module>.lora_A.weight [R, in] and lora_B.weight [out, R]

Modules have the names that they have in memory in transformers 5 (and in 4.52 and later, LLaVA's vision tower apart).
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.numpy

from m3it_jax import adapter_weights, checkpointing, errors
from m3it_jax.checkpoint_conversion.files import new_folder
from m3it_jax.checkpoint_conversion.names import families
from m3it_jax.checkpoint_conversion.names.layer_entries import TRANSPOSED
from m3it_jax.models import variants
from m3it_jax.models.variants import Variant

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
_PREFIX = "base_model.model."

# Names in LLaVA's files -> in memory (transformers modeling_llava.py, `_checkpoint_conversion_mapping`).
_LLAVA = (
    (r"language_model\.model\.(.+)", r"model.language_model.\1"),
    (r"language_model\.lm_head", r"lm_head"),
    (r"vision_tower\.vision_model\.(.+)", r"model.vision_tower.\1"),
    (r"(multi_modal_projector\..+)", r"model.\1"),
)


def convert(checkpoint: Path, out: Path, *, base: str | None = None) -> dict[str, Any]:
    """Writes the adapters of a checkpoint, and returns the values of adapter_config.json.

    Args:
      checkpoint: As `checkpointing.locate` takes it.
      out: A folder that does not exist yet.
      base: Name or folder of the model that the adapters belong to; None leaves it to whoever loads them.

    Raises:
      UserError: there is no checkpoint, it has no adapters or more than adapters, or PEFT cannot have one of them.
    """
    location = checkpointing.locate(checkpoint)
    told = checkpointing.read_config(location)
    lora = told.get("lora") or {}
    if not lora.get("rank"):
        raise errors.UserError(f"{location.run}: was trained without adapters (lora.rank); export it without --adapter")
    if lora.get("also"):
        raise errors.UserError(
            f"{location.run}: trained {', '.join(lora['also'])} beside its adapters, which an adapter's file cannot "
            "hold; export it without --adapter, all merged"
        )
    is_own = (location.run / variants.MODEL_FILE).is_file()
    variant = variants.read(location.run) if is_own else variants.named(told["model"]["variant"])
    tensors, config = made(checkpointing.stored_leaves(location), variant)
    config |= {"lora_dropout": lora["dropout"], "base_model_name_or_path": base}
    write(out, tensors, config)
    return config


def write(out: Path, tensors: Mapping[str, np.ndarray], config: Mapping[str, Any]) -> None:
    """Writes both files; the folder is there when they are whole.

    Raises:
      UserError: `out` exists.
    """
    with new_folder.made_whole(out) as folder:
        safetensors.numpy.save_file(dict(tensors), folder / WEIGHTS, metadata={"format": "pt"})
        new_folder.write_json(folder / CONFIG, dict(config))


def made(leaves: Mapping[str, Any], variant: Variant) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Returns the tensors and the configuration of the adapters among a model's parameters.

    Args:
      leaves: {path: array}; only those of adapters are read.
      variant: The model.

    Raises:
      UserError: PEFT cannot have an adapter on one of the kernels.
    """
    kernels = {adapter_weights.kernel_of(path): None for path in leaves if adapter_weights.kernel_of(path)}
    homes = {(entry.paths, entry.layer): entry for entry in families.entries(variant)}
    tensors, modules = {}, []
    for kernel in kernels:
        a, b, scale = (np.asarray(leaves[path], np.float32) for path in adapter_weights.beside(kernel))
        layers = range(len(scale)) if adapter_weights.is_stacked(kernel) else [None]
        for layer in layers:
            entry = homes.get(((kernel,), layer))
            if entry is None or entry.axes != TRANSPOSED:
                raise errors.UserError(
                    f"{kernel}: is joined with others in Hugging Face's layout, where no adapter can stand beside it "
                    "alone; export without --adapter, all merged"
                )
            module = _module(entry.key.removesuffix(".weight"), variant)
            low, high = (array if layer is None else array[layer] for array in (a, b))
            rank = high.shape[0]
            tensors[f"{_PREFIX}{module}.lora_A.weight"] = np.ascontiguousarray(low.reshape(-1, rank).T)
            tensors[f"{_PREFIX}{module}.lora_B.weight"] = np.ascontiguousarray(high.reshape(rank, -1).T)
            modules.append(module)
    return tensors, {
        "peft_type": "LORA",
        "task_type": None,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": float(scale.reshape(-1)[0] * rank),
        "lora_dropout": 0.0,
        "target_modules": modules,
        "bias": "none",
        "fan_in_fan_out": False,
        "base_model_name_or_path": None,
    }


def _module(name: str, variant: Variant) -> str:
    if families.is_llava(variant):
        for pattern, replacement in _LLAVA:
            if re.fullmatch(pattern, name):
                return re.sub(pattern, replacement, name)
    return name
