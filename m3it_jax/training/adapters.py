"""Low-rank adapters in training: which kernels get one, and what it starts from (`adapter_weights`)."""

import dataclasses
import math
import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from m3it_jax import adapter_weights, errors, parameter_paths

TRAINED = (rf".*/({adapter_weights.A}|{adapter_weights.B})", True)  # a row of a table as `state.decide` takes it


@dataclasses.dataclass(frozen=True)
class Adapters:
    """What adapters are like; patterns are over the path of a kernel, with or without its `/kernel`."""

    rank: int
    alpha: float
    dropout: float
    targets: tuple[str, ...]


def kernels(paths: Mapping[str, Any], targets: tuple[str, ...]) -> list[str]:
    """Returns the kernels that the patterns name, in the order of the parameters.

    Raises:
      ConfigError: a pattern names no kernel that can carry an adapter.
    """
    able = [path for path in paths if adapter_weights.num_inputs(path)]
    found: set[str] = set()
    for pattern in targets:
        named = [path for path in paths if _is_named(pattern, path)]
        other = next((path for path in named if path not in able), "")
        if other or not named:
            problem = f"matches {other}, which is no kernel that can carry an adapter" if other else "matches no kernel"
            raise errors.ConfigError(f"lora.targets: {pattern!r} {problem}; those that can are {', '.join(able)}")
        found.update(named)
    return [path for path in able if path in found]


def _is_named(pattern: str, path: str) -> bool:
    return bool(re.fullmatch(pattern, path) or re.fullmatch(pattern, path.removesuffix("/kernel")))


def added(params: Mapping[str, Any], like: Adapters) -> dict[str, Any]:
    """Returns the nested shapes of parameters with those of the adapters among them.

    Raises:
      ConfigError: a pattern names no kernel that can carry an adapter.
    """
    leaves = parameter_paths.flatten(params)
    for kernel in kernels(leaves, like.targets):
        layers, inputs, outputs = adapter_weights.divided(kernel, leaves[kernel].shape)
        shapes = ((*layers, *inputs, like.rank), (*layers, like.rank, *outputs), layers)
        for path, shape in zip(adapter_weights.beside(kernel), shapes, strict=True):
            leaves[path] = jax.ShapeDtypeStruct(shape, jnp.float32)
    return parameter_paths.unflatten(leaves)


def fresh(shapes: Mapping[str, Any], like: Adapters, *, key: jax.Array) -> dict[str, jax.Array]:
    """Returns {path: array} of new adapters, which change nothing yet: `lora_b` is zero.

    `lora_a` is uniform within 1 / sqrt(inputs), as PEFT draws it (peft tuners/lora/layer.py, reset_lora_parameters:
    Kaiming with a = sqrt(5)).

    Args:
      shapes: {path: shape} of the adapters' arrays alone.
      like: Their alpha and rank.
      key: Of chance; each array has its own by its path's place.
    """
    made = {}
    for number, (path, leaf) in enumerate(sorted(shapes.items())):
        name, kernel = path.rpartition("/")[2], adapter_weights.kernel_of(path)
        if name == adapter_weights.A:
            _, inputs, _ = adapter_weights.divided(kernel, leaf.shape[:-1])
            bound = 1.0 / math.sqrt(math.prod(inputs))
            made[path] = jax.random.uniform(jax.random.fold_in(key, number), leaf.shape, minval=-bound, maxval=bound)
        elif name == adapter_weights.B:
            made[path] = jnp.zeros(leaf.shape)
        else:
            made[path] = jnp.full(leaf.shape, like.alpha / like.rank)
    return made
