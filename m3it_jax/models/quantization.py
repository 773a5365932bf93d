"""int8 weights of a language model that is not trained: a quarter of float32's memory, half of bfloat16's.

Each output channel of a kernel is stored as whole numbers from -127 to 127 and one float32 scale. `layers.Linear`
multiplies by the numbers and scales what comes out, so the rounding of a weight is at most half of its channel's scale.
"""

import re
from collections.abc import Mapping
from typing import Any

import jax.numpy as jnp
import numpy as np

from m3it_jax import parameter_paths

# Kernels, which are stacked but for the head -> the axes that are summed over.
_KERNELS: tuple[tuple[str, tuple[int, ...]], ...] = (
    (r"decoder/(encoder/)?blocks/(attn|cross_attn)/(query|key|value)/kernel", (1,)),
    (r"decoder/(encoder/)?blocks/(attn|cross_attn)/out/kernel", (1, 2)),
    (r"decoder/(encoder/)?blocks/mlp/(gate|up|down)/kernel", (1,)),
    (r"decoder/head/kernel", (0,)),
)


def quantize(params: Mapping[str, Any]) -> dict[str, Any]:
    """Returns parameters whose language model has int8 kernels and a `kernel_scale` beside each; the rest stays.

    Embeddings stay too, also where they are the output head: they are looked up, not multiplied. Arrays of the host
    stay there and are read a layer at a time, so that a mapped file is never in memory whole.
    """
    leaves = {}
    for path, leaf in parameter_paths.flatten(params).items():
        axes = next((axes for pattern, axes in _KERNELS if re.fullmatch(pattern, path)), ())
        if not axes:
            leaves[path] = leaf
        elif isinstance(leaf, np.ndarray) and 0 not in axes:
            layers = [quantize_kernel(layer, tuple(axis - 1 for axis in axes)) for layer in leaf]
            leaves[path], leaves[f"{path}_scale"] = (np.stack(arrays) for arrays in zip(*layers, strict=True))
        else:
            leaves[path], leaves[f"{path}_scale"] = quantize_kernel(leaf, axes)
    return parameter_paths.unflatten(leaves)


def quantize_kernel(kernel: Any, axes: tuple[int, ...]) -> tuple[Any, Any]:
    """Returns (int8 kernel, float32 scale without the `axes` that are summed over), where the kernel is.

    A scale has bfloat16's digits alone: it stays what it is in a model that is kept in bfloat16.
    """
    xp = np if isinstance(kernel, np.ndarray) else jnp
    kernel = kernel.astype(np.float32)
    scale = (xp.abs(kernel).max(axis=axes, keepdims=True) / 127.0).astype(jnp.bfloat16).astype(np.float32)
    scale = xp.where(scale == 0.0, np.float32(1.0), scale)  # a channel of zeros
    return xp.clip(xp.round(kernel / scale), -127, 127).astype(np.int8), scale.squeeze(axes)
