"""Low-rank adapters (LoRA, arXiv 2106.09685): which kernels can carry one, where its arrays lie, and the merged kernel.

An adapter of rank R stands beside its kernel [(layers,) inputs, outputs], as `lora_a` [(layers,) inputs, R], `lora_b`
[(layers,) R, outputs] and `lora_scale` [(layers)], which is alpha / R. The layer computes with kernel + scale * a b.
Like an int8 kernel, an adapter is told by its parameters: a checkpoint needs no configuration to be read.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np

A, B, SCALE = "lora_a", "lora_b", "lora_scale"

_STACKED = r"(vit/blocks|qformer/groups/block_\d+|decoder/(encoder/)?blocks)"
_ATTENTION = rf"{_STACKED}/(attn|self_attn|cross_attn)"
# Kernels that can carry an adapter -> how many of their axes are inputs.
_KERNELS: tuple[tuple[str, int], ...] = (
    (rf"{_ATTENTION}/(query|key|value)/kernel", 1),
    (rf"{_ATTENTION}/out/kernel", 2),
    (rf"{_STACKED}/(text_)?mlp/(up|gate|down)/kernel", 1),
    (r"projection/((up|down)/)?kernel", 1),
    (r"decoder/head/kernel", 1),
)


def num_inputs(kernel: str) -> int:
    """Returns how many axes of a kernel are inputs; 0 where the path names nothing that can carry an adapter."""
    return next((count for pattern, count in _KERNELS if re.fullmatch(pattern, kernel)), 0)


def is_stacked(kernel: str) -> bool:
    """Returns whether the first axis of a kernel counts layers."""
    return bool(re.match(rf"{_STACKED}/", kernel))


def kernel_of(path: str) -> str:
    """Returns the path of the kernel beside which an adapter's array stands; "" for any other parameter."""
    parent, _, name = path.rpartition("/")
    return f"{parent}/kernel" if name in (A, B, SCALE) else ""


def beside(kernel: str) -> tuple[str, str, str]:
    """Returns the paths of an adapter's three arrays."""
    parent = kernel.rpartition("/")[0]
    return f"{parent}/{A}", f"{parent}/{B}", f"{parent}/{SCALE}"


def divided(kernel: str, axes: tuple[Any, ...]) -> tuple[tuple[Any, ...], tuple[Any, ...], tuple[Any, ...]]:
    """Returns what belongs to (layers, inputs, outputs) of anything that goes along a kernel's axes: sizes or names."""
    first = int(is_stacked(kernel))
    last = first + num_inputs(kernel)
    return axes[:first], axes[first:last], axes[last:]


def merged(leaves: Mapping[str, Any]) -> dict[str, Any]:
    """Returns {path: array} with each adapter in its kernel; without adapters, the same leaves.

    The sum is made in float32 and rounded once, to the type of the kernel. Arrays stay where they are.
    """
    made = {path: leaf for path, leaf in leaves.items() if not kernel_of(path)}
    for kernel in {kernel_of(path): None for path in leaves if kernel_of(path)}:
        base = made[kernel]
        a, b, scale = (leaves[path] for path in beside(kernel))
        layers, inputs, outputs = divided(kernel, tuple(base.shape))
        low = a.astype(np.float32).reshape(*layers, math.prod(inputs), -1)
        change = low @ b.astype(np.float32).reshape(*layers, -1, math.prod(outputs))
        change = change * scale.astype(np.float32)[..., None, None]
        made[kernel] = (base.astype(np.float32) + change.reshape(base.shape)).astype(base.dtype)
    return made
