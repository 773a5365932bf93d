"""The identity of an evaluation: everything that its answers depend on, computed in one place."""

import hashlib
import importlib.metadata
from collections.abc import Mapping
from typing import Any

import numpy as np

import m3it_jax
from m3it_jax import prompts, records
from m3it_jax.evaluation import tasks

# Packages whose version can change an answer.
_PACKAGES = ("jax", "jaxlib", "flax", "numpy", "Pillow", "sentencepiece")


def identity(
    folder: records.DataFolder,
    protocol: tasks.Protocol,
    *,
    params: Mapping[str, Any],
    step: int,
    tokenizer: str,
) -> dict[str, Any]:
    """Returns the identity as JSON values.

    Args:
      folder: The data.
      protocol: The settings.
      params: Nested dict of the model's arrays.
      step: Optimiser updates that the checkpoint has seen.
      tokenizer: Fingerprint of the model's tokenizer.
    """
    return {
        "checkpoint": {"step": step, "params": params_hash(params)},
        "data": data(folder, protocol),
        "tokenizer": tokenizer,
        "template_version": prompts.TEMPLATE_VERSION,
        "decoding": {"method": "greedy", "max_new_tokens": protocol.max_new_tokens, "stop": "newline"},
        "seed": protocol.seed,
        "packages": {name: importlib.metadata.version(name) for name in _PACKAGES},
        "m3it_jax": m3it_jax.__version__,
        **({"suite": tasks.suite_entries(protocol.suite)} if protocol.suite else {}),
    }


def data(folder: records.DataFolder, protocol: tasks.Protocol) -> dict[str, str]:
    """Returns the identity of the records alone, which scoring again needs as well."""
    return {"fingerprint": folder.fingerprint, "split": "suite" if protocol.suite else protocol.split}


def params_hash(params: Mapping[str, Any]) -> str:
    """Returns the SHA-256 over path, type, shape and content of every array of a nested dict, in order of path."""
    digest = hashlib.sha256()
    for path, leaf in sorted(_leaves(params)):
        array = np.asarray(leaf)
        digest.update(f"{path} {array.dtype} {array.shape}\n".encode())
        digest.update(np.ascontiguousarray(array).view(np.uint8).data)
    return digest.hexdigest()


def _leaves(tree: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    leaves: list[tuple[str, Any]] = []
    for name, value in tree.items():
        leaves += _leaves(value, f"{prefix}{name}/") if isinstance(value, Mapping) else [(prefix + name, value)]
    return leaves
