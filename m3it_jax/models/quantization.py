"""int8 weights of a language model that is not trained: a quarter of float32's memory, half of bfloat16's.

Each output channel of a kernel is stored as whole numbers from -127 to 127 and one float32 scale. `layers.Linear`
multiplies by the numbers and scales what comes out, so the rounding of a weight is at most half of its channel's scale.
"""

import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from m3it_jax import parameter_paths

# Kernels -> the axes of one layer's kernel that are summed over; those of a stack lie behind the layers' axis.
_KERNELS: tuple[tuple[str, int, tuple[int, ...]], ...] = (
    (r"decoder/(encoder/)?blocks/(attn|cross_attn)/(query|key|value)/kernel", 4, (1,)),
    (r"decoder/(encoder/)?blocks/(attn|cross_attn)/out/kernel", 4, (1, 2)),
    (r"decoder/(encoder/)?blocks/mlp/(gate|up|down)/kernel", 3, (1,)),
    (r"decoder/head/kernel", 2, (0,)),
)


def quantize(params: dict[str, Any]) -> dict[str, Any]:
    """Returns parameters whose language model has int8 kernels and a `kernel_scale` beside each; the rest stays.

    Embeddings stay too, also where they are the output head: they are looked up, not multiplied.
    """
    leaves = {}
    for path, leaf in parameter_paths.flatten(params).items():
        axes = next((axes for pattern, rank, axes in _KERNELS if re.fullmatch(pattern, path) and leaf.ndim == rank), ())
        if axes:
            leaves[path], leaves[f"{path}_scale"] = quantize_kernel(leaf, axes)
        else:
            leaves[path] = leaf
    return parameter_paths.unflatten(leaves)


def quantize_kernel(kernel: Any, axes: tuple[int, ...]) -> tuple[Any, Any]:
    """Returns (int8 kernel, float32 scale without the `axes` that are summed over); on the host where the kernel is."""
    xp = jnp if isinstance(kernel, jax.Array) else np
    kernel = xp.asarray(kernel, np.float32)
    scale = xp.abs(kernel).max(axis=axes, keepdims=True) / 127.0
    scale = xp.where(scale == 0.0, 1.0, scale).astype(np.float32)  # a channel of zeros
    return xp.round(kernel / scale).astype(np.int8), scale.squeeze(axes)
