"""The decoder's parameters in the form in which tokens are made: a tree for each layer, products of one input merged.

Training scans over stacked parameters, so a program has one layer whatever the depth. Making tokens that way would copy
every layer's weights and cache out of the stack and back at each token. Here each layer has arrays of its own, and the
kernels that share their input (query, key, value; gate, up) are one kernel: fewer products, each larger (ADR 0016).
"""

import functools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from m3it_jax import parameter_paths
from m3it_jax.models.vlm import VLM

Params = dict[str, Any]

_BLOCKS = "blocks"  # the stacked layers' tree; `blocks_0` is the first layer's

# Layers of a block that share their input -> (the merged layer, its axis that grows, counted from the end).
_MERGED: tuple[tuple[tuple[str, ...], str, int], ...] = (
    (("blocks/attn/query", "blocks/attn/key", "blocks/attn/value"), "blocks/attn/qkv", -2),  # kernels [D, heads, H]
    (("blocks/mlp/gate", "blocks/mlp/up"), "blocks/mlp/gate_up", -1),  # kernels [D, M]
)


# Kernels of the loop that makes tokens -> their first axes, which are summed over.
_TRANSPOSED: tuple[tuple[str, int], ...] = (
    (r"blocks/(attn|cross_attn)/out/kernel", 2),
    (r"blocks/\w+/\w+/kernel|head/kernel", 1),
)


def of(
    model: VLM,
    params: Mapping[str, Any],
    *,
    used_up: bool = False,
    place: Callable[[Any], Any] = lambda leaf: leaf,
) -> tuple[VLM, Params]:
    """Returns the model and its parameters with layers of their own; parameters that are so already stay as they are.

    Args:
      model: The model.
      params: Its parameters, stacked or not.
      used_up: The language model's arrays are taken out of `params` one after another: what is held stays one model
        and the largest arrays that are merged, if nobody else holds them.
      place: Puts each array where it is to stay, as soon as it is made.
    """
    model = model.clone(decoder=model.decoder.clone(layered=True))
    dtype, found = model.decoder.dtype, parameter_paths.flatten(params["decoder"])
    if used_up:
        params["decoder"].clear()
    leaves: dict[str, Any] = {}
    for path, sources, axis in _plan(found):
        # Popped: stacked arrays are gone before the next ones are split.
        arrays = [found.pop(source) for source in sources]
        if not path.startswith(f"{_BLOCKS}/"):
            name, leaf = _laid_out(path, _narrowed(path, arrays[0], dtype))
            leaves[name] = place(leaf)
            continue
        for number in range(arrays[0].shape[0]):
            name, leaf = _laid_out(path, _narrowed(path, _take(arrays, number, axis), dtype))
            leaves[f"{_BLOCKS}_{number}/{name.removeprefix(f'{_BLOCKS}/')}"] = place(leaf)
    rest = {name: jax.tree.map(place, part) for name, part in params.items() if name != "decoder"}
    return model, {**rest, "decoder": parameter_paths.unflatten(leaves)}


def _plan(found: Mapping[str, Any]) -> list[tuple[str, tuple[str, ...], int]]:
    """Returns (path of an array, of one layer where it is stacked; the arrays that make it; the axis to join them)."""
    planned, left = [], dict.fromkeys(found)
    for parts, merged, axis in _MERGED:
        names = {path.rpartition("/")[2] for path in found if path.rpartition("/")[0] in parts}
        joined = [(name, tuple(f"{part}/{name}" for part in parts)) for name in sorted(names)]
        # Joined along an axis that is split over devices, every product would begin by sorting its parts out.
        if all(path in found and _is_whole(found[path], axis) for _, sources in joined for path in sources):
            planned += [(f"{merged}/{name}", sources, axis) for name, sources in joined]
            left = {path: None for path in left if path.rpartition("/")[0] not in parts}
    return planned + [(path, (path,), 0) for path in left]


def _laid_out(path: str, leaf: Any) -> tuple[str, Any]:
    """Returns an array and its path, a kernel with its output's axes first where that is the faster form.

    XLA's CPU products of 8 rows took two thirds of the time with kernels [out, in], those of 1 row and of hundreds the
    same (jax 0.10.2, AVX-512).
    """
    num_summed = next((count for pattern, count in _TRANSPOSED if re.fullmatch(pattern, path)), 0)
    is_split = isinstance(leaf, jax.Array) and not leaf.sharding.is_fully_replicated
    if not num_summed or is_split or not jnp.issubdtype(leaf.dtype, jnp.floating) or jax.default_backend() != "cpu":
        return path, leaf
    # Two axes: with more, XLA would turn the kernel back at every step.
    turned = leaf.reshape(math.prod(leaf.shape[:num_summed]), -1).T
    turned = turned if isinstance(leaf, jax.Array) else np.ascontiguousarray(turned)
    return path.removesuffix("kernel") + "transposed_kernel", turned


def _is_whole(leaf: Any, axis: int) -> bool:
    """Returns whether no device holds less than all of an axis."""
    return not isinstance(leaf, jax.Array) or leaf.sharding.shard_shape(leaf.shape)[axis] == leaf.shape[axis]


def _take(leaves: Sequence[Any], number: int, axis: int) -> Any:
    """Returns one layer's part of stacked arrays, joined."""
    if all(isinstance(leaf, jax.Array) for leaf in leaves):
        return _take_on_device(tuple(leaves), np.int32(number), axis=axis)
    parts = [np.asarray(leaf[number]) for leaf in leaves]
    return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=axis)


@functools.partial(jax.jit, static_argnames="axis")
def _take_on_device(leaves: tuple[jax.Array, ...], number: jax.Array, *, axis: int) -> jax.Array:
    parts = [jax.lax.dynamic_index_in_dim(leaf, number, keepdims=False) for leaf in leaves]
    return parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis=axis)


def _narrowed(path: str, leaf: Any, dtype: jnp.dtype) -> Any:
    """Returns what the modules cast to `dtype` at every use in that type already, where that makes it smaller."""
    cast = path.rsplit("/", 1)[-1] in ("kernel", "bias", "embedding") and jnp.issubdtype(leaf.dtype, jnp.floating)
    return leaf.astype(dtype) if cast and leaf.dtype.itemsize > dtype.itemsize else leaf
