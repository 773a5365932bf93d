"""The decoder's parameters in the form in which tokens are made: a tree for each layer, products of one input merged.

Training scans over stacked parameters, so a program has one layer whatever the depth. Making tokens that way would copy
every layer's weights and cache out of the stack and back at each token. Here each layer has arrays of its own, and the
kernels that share their input (query, key, value; gate, up) are one kernel: fewer products, each larger (ADR 0016).
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from m3it_jax import parameter_paths
from m3it_jax.models.vlm import VLM

Params = dict[str, Any]

_BLOCKS = "blocks"

# Layers of a block that share their input -> (the merged layer, its axis that grows, counted from the end).
_MERGED: tuple[tuple[tuple[str, ...], str, int], ...] = (
    (("attn/query", "attn/key", "attn/value"), "attn/qkv", -2),  # kernels [D, heads, H]
    (("mlp/gate", "mlp/up"), "mlp/gate_up", -1),  # kernels [D, M]
)


def of(model: VLM, params: Mapping[str, Any], *, used_up: bool = False) -> tuple[VLM, Params]:
    """Returns the model and its parameters with layers of their own; parameters that are so already stay as they are.

    Args:
      model: The model.
      params: Its parameters, stacked or not.
      used_up: Stacked arrays are taken out of `params` one after another. What is held then stays one model and the
        largest arrays that are merged, if nobody else holds them.
    """
    layered = model.clone(decoder=model.decoder.clone(layered=True))
    decoder = dict(params["decoder"])
    if _BLOCKS not in decoder:
        return layered, dict(params)
    stacked = parameter_paths.flatten(decoder.pop(_BLOCKS))
    if used_up:
        del params["decoder"][_BLOCKS]
    dtype = model.decoder.dtype
    rest = {path: _narrowed(path, leaf, dtype) for path, leaf in parameter_paths.flatten(decoder).items()}
    blocks: dict[str, Any] = {}
    for path, sources, axis in _plan(stacked):
        # Popped: the stacked arrays are gone before the next ones are split.
        leaves = [stacked.pop(source) for source in sources]
        for number in range(leaves[0].shape[0]):
            blocks[f"{_BLOCKS}_{number}/{path}"] = _narrowed(path, _take(leaves, number, axis), dtype)
    return layered, {**params, "decoder": parameter_paths.unflatten({**rest, **blocks})}


def _plan(stacked: Mapping[str, Any]) -> list[tuple[str, tuple[str, ...], int]]:
    """Returns (path in a layer's tree, stacked paths that make it, axis along which they are joined)."""
    planned, left = [], dict.fromkeys(stacked)
    for layers, merged, axis in _MERGED:
        names = {path.rpartition("/")[2] for path in stacked if path.rpartition("/")[0] in layers}
        joined = [(name, tuple(f"{layer}/{name}" for layer in layers)) for name in sorted(names)]
        # Joined along an axis that is split over devices, every product would begin by sorting its parts out.
        if all(path in stacked and _is_whole(stacked[path], axis) for _, sources in joined for path in sources):
            planned += [(f"{merged}/{name}", sources, axis) for name, sources in joined]
            left = {path: None for path in left if path.rpartition("/")[0] not in layers}
    return planned + [(path, (path,), 0) for path in left]


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
