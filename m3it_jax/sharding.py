"""Where every array lives: the mesh, the logical axes, the rules that join them, and the table of parameters.

The same code runs on one CPU device and on a pod: there is no platform test, and one device gets the same constraints.
"""

import dataclasses
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from m3it_jax import adapter_weights, errors, parameter_paths

MESH_AXES = ("data", "fsdp", "tensor")

MeshAxes = str | tuple[str, ...] | None


@dataclasses.dataclass(frozen=True)
class ShardingRules:
    """Mesh axes of each logical axis (None: not split). Names with `act_` belong to activations."""

    act_batch: MeshAxes = ("data", "fsdp")
    act_seq: MeshAxes = None
    act_embed: MeshAxes = None
    embed: MeshAxes = None
    vocab: MeshAxes = None
    mlp: MeshAxes = None
    heads: MeshAxes = None
    kv_heads: MeshAxes = None
    head_dim: MeshAxes = None
    layers: MeshAxes = None
    patch: MeshAxes = None
    query: MeshAxes = None
    classes: MeshAxes = None

    def pairs(self) -> tuple[tuple[str, MeshAxes], ...]:
        """Returns (logical axis, mesh axes) pairs, the form that `nn.logical_axis_rules` takes."""
        return tuple(dataclasses.asdict(self).items())


PRESETS: dict[str, ShardingRules] = {
    "single": ShardingRules(),  # parameters whole on every device, batch split
    "fsdp": ShardingRules(embed="fsdp"),
    "fsdp_tp": ShardingRules(embed="fsdp", vocab="tensor", mlp="tensor", heads="tensor", kv_heads="tensor"),
}

# Parameter path -> logical axes, first match wins. Blocks are scanned, so their first axis is `layers`.
_STACKED = r"(vit/blocks|qformer/groups/block_\d+|decoder/(encoder/)?blocks)"
_ATTENTION = rf"{_STACKED}/(attn|self_attn|cross_attn)"
PARAMETER_AXES: tuple[tuple[str, tuple[str | None, ...]], ...] = (
    (r"decoder/blocks/attn/(key|value)/kernel", ("layers", "embed", "kv_heads", "head_dim")),
    (r"decoder/blocks/attn/(key|value)/(bias|kernel_scale)", ("layers", "kv_heads", "head_dim")),
    (rf"{_ATTENTION}/(query|key|value)/kernel", ("layers", "embed", "heads", "head_dim")),
    (rf"{_ATTENTION}/(query|key|value)/(bias|kernel_scale)", ("layers", "heads", "head_dim")),
    (rf"{_ATTENTION}/out/kernel", ("layers", "heads", "head_dim", "embed")),
    (rf"{_ATTENTION}/out/(bias|kernel_scale)", ("layers", "embed")),
    (rf"{_STACKED}/(text_)?mlp/(up|gate)/kernel", ("layers", "embed", "mlp")),
    (rf"{_STACKED}/(text_)?mlp/(up|gate)/(bias|kernel_scale)", ("layers", "mlp")),
    (rf"{_STACKED}/(text_)?mlp/down/kernel", ("layers", "mlp", "embed")),
    (rf"{_STACKED}/(text_)?mlp/down/(bias|kernel_scale)", ("layers", "embed")),
    (rf"{_STACKED}/\w+_norm/(scale|bias)", ("layers", "embed")),
    (r"vit/patch_embedding/kernel", ("patch", "patch", None, "embed")),
    (r"vit/patch_embedding/bias", ("embed",)),
    (r"vit/class_token", ("embed",)),
    (r"vit/position_embedding", (None, "embed")),
    (r"qformer/query_tokens", ("query", "embed")),
    (r"qformer/text_embedding/embedding|qformer/text_position_embedding", (None, "embed")),  # 30,523 = 131 * 233 rows
    (r"(vit|qformer)/input_norm/(scale|bias)|(vit|decoder|decoder/encoder)/final_norm/(scale|bias)", ("embed",)),
    (r"projection/kernel", (None, "embed")),
    (r"projection/bias", ("embed",)),
    (r"projection/up/kernel", (None, "mlp")),
    (r"projection/up/bias", ("mlp",)),
    (r"projection/down/kernel", ("mlp", "embed")),
    (r"projection/down/bias", ("embed",)),
    (r"decoder/token_embedding/embedding", ("vocab", "embed")),
    (r"decoder/position_embedding", (None, "embed")),
    (r"decoder/(encoder/)?relative_bias/embedding", (None, "heads")),
    (r"decoder/head/kernel", ("embed", "vocab")),
    (r"decoder/head/kernel_scale", ("vocab",)),
    # What the towers are pre-trained with (models/towers.py).
    (r"heads/text_embedding/embedding", ("vocab", "embed")),
    (r"heads/(pool_queries|text_positions)", (None, "embed")),
    (r"heads/(pool|text)_(key|value|up|down|out)/kernel", ("embed", None)),
    (r"heads/(pool|text)_(key|value|up|down|out)/bias", (None,)),
    (r"heads/image_out/kernel", ("embed", None)),
    (r"heads/image_out/bias", (None,)),
    (r"heads/attribute_\w+/kernel", ("embed", "classes")),
    (r"heads/attribute_\w+/bias", ("classes",)),
    (r"heads/(temperature|offset)", ()),
)


def make_mesh(*, data: int = -1, fsdp: int = 1, tensor: int = 1, devices: Iterable[Any] | None = None) -> Mesh:
    """Returns a mesh with the axes `data`, `fsdp` and `tensor`; one size may be -1 and takes what is left.

    Raises:
      ConfigError: the sizes do not multiply to the number of devices.
    """
    devices = list(jax.devices() if devices is None else devices)
    sizes = [data, fsdp, tensor]
    known = int(np.prod([size for size in sizes if size != -1]))
    if -1 in sizes and len(devices) % known == 0:
        sizes[sizes.index(-1)] = len(devices) // known
    if -1 in sizes or int(np.prod(sizes)) != len(devices):
        raise errors.ConfigError(
            f"mesh: data={data}, fsdp={fsdp}, tensor={tensor} do not multiply to the {len(devices)} devices found; "
            "set one of them to -1 to take what is left"
        )
    # Linen attention fails under jax.make_mesh's default of explicit axes, hence Auto: here and nowhere else.
    return jax.make_mesh(tuple(sizes), MESH_AXES, axis_types=(AxisType.Auto,) * 3, devices=devices)


def partition_spec(axes: tuple[str | None, ...], rules: ShardingRules) -> PartitionSpec:
    """Returns the partition of an array with these logical axes.

    Raises:
      ValueError: two dimensions would lie on one mesh axis.
    """
    # A second `patch` of one kernel, or any axis without a mesh axis, stays whole.
    entries = [None if axis is None else getattr(rules, axis) for axis in axes]
    used = [name for entry in entries if entry is not None for name in ((entry,) if isinstance(entry, str) else entry)]
    if len(used) != len(set(used)):
        raise ValueError(f"logical axes {axes} put two dimensions on one mesh axis: {entries}")
    return PartitionSpec(*entries)


def parameter_axes(path: str) -> tuple[str | None, ...]:
    """Returns the logical axes of a parameter; an adapter's are those of its kernel, and its rank stays whole.

    Raises:
      ValueError: no row of `PARAMETER_AXES` covers the path.
    """
    if kernel := adapter_weights.kernel_of(path):
        stacked, inputs, outputs = adapter_weights.divided(kernel, parameter_axes(kernel))
        arrays = ((*stacked, *inputs, None), (*stacked, None, *outputs), stacked)
        return dict(zip(adapter_weights.beside(kernel), arrays, strict=True))[path]
    for pattern, axes in PARAMETER_AXES:
        if re.fullmatch(pattern, path):
            return axes
    raise ValueError(f"parameter {path} is covered by no row of sharding.PARAMETER_AXES; add one")


def parameter_shardings(params: Mapping[str, Any], mesh: Mesh, rules: ShardingRules) -> dict[str, Any]:
    """Returns the sharding of every parameter, as a tree like `params` (arrays or shapes).

    Raises:
      ValueError: a path is not covered, or its row has another rank.
      ConfigError: a size does not divide by its mesh axes.
    """
    shardings = {}
    for path, leaf in parameter_paths.flatten(params).items():
        axes = parameter_axes(path)
        if len(axes) != len(leaf.shape):
            raise ValueError(f"parameter {path} has shape {leaf.shape}, its row of PARAMETER_AXES has axes {axes}")
        spec = partition_spec(axes, rules)
        for size, split in zip(leaf.shape, spec, strict=True):
            names = (split,) if isinstance(split, str) else split or ()
            parts = math.prod(mesh.shape[name] for name in names)
            if size % parts:
                raise errors.ConfigError(
                    f"{', '.join(f'mesh.{name}' for name in names)}={parts}: does not divide the {size} of parameter "
                    f"{path} of shape {leaf.shape}; choose a divisor, or a mesh.rules that does not split it"
                )
        shardings[path] = NamedSharding(mesh, spec)
    return parameter_paths.unflatten(shardings)


def batch_sharding(mesh: Mesh, rules: ShardingRules) -> NamedSharding:
    """Returns the sharding of every array of a batch: split along its first axis."""
    return NamedSharding(mesh, PartitionSpec(rules.act_batch))


def batch_shards(rules: ShardingRules) -> int:
    """Returns into how many shares the mesh that is set splits a batch; 1 where none is set."""
    axes = (rules.act_batch,) if isinstance(rules.act_batch, str) else rules.act_batch or ()
    sizes = jax.sharding.get_abstract_mesh().shape
    return math.prod(sizes.get(axis, 1) for axis in axes)


def replicated(mesh: Mesh) -> NamedSharding:
    """Returns the sharding of an array that every device holds whole."""
    return NamedSharding(mesh, PartitionSpec())
