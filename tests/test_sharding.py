"""Where parameters live: the table covers, refuses what it should, and shards have the shapes that the rules say."""

import dataclasses
import re

import jax
import numpy as np
import pytest
import small_models
from jax.sharding import PartitionSpec

from m3it_jax import config, errors, parameter_paths, sharding
from m3it_jax.models import quantization
from m3it_jax.models.variants import VARIANTS
from m3it_jax.training import objectives, setup

ATTRIBUTES = (("shape", 4), ("digit", 8))


def abstract(objective: str, variant: str) -> dict:
    task = objectives.Task(VARIANTS[variant], "float32", False, ATTRIBUTES, 1, 8)
    return setup.abstract_params(objectives.OBJECTIVES[objective], task)[0]


@pytest.mark.parametrize("objective", sorted(objectives.OBJECTIVES))
def test_every_parameter_of_every_objective_has_a_row(objective: str) -> None:
    for path, leaf in parameter_paths.flatten(abstract(objective, "mini")).items():
        assert len(sharding.parameter_axes(path)) == len(leaf.shape), path


@pytest.mark.parametrize("family", small_models.SMALL)
def test_an_axis_of_a_family_has_one_size_in_all_parameters_of_a_part(family: str) -> None:
    """Two axes of one row in the wrong order would give a part two widths, two numbers of heads or of layers."""
    params = jax.eval_shape(quantization.quantize, small_models.shapes(family))
    sizes: dict[tuple[str, str], set[int]] = {}
    for path, leaf in parameter_paths.flatten(params).items():
        axes = sharding.parameter_axes(path)
        assert len(axes) == len(leaf.shape), path
        part = path.split("/")[0] + ("/encoder" if "/encoder/" in path else "")
        # What a projection or cross-attention reads has the width of another part.
        reads = path.startswith("projection/") or (part == "qformer" and re.search(r"cross_attn/(key|value)/", path))
        for axis, size in zip(axes, leaf.shape, strict=True):
            if axis is not None and not (reads and axis in ("embed", "mlp")):
                sizes.setdefault((part, axis), set()).add(size)
    assert {key: found for key, found in sizes.items() if len(found) > 1} == {}
    variant = small_models.SMALL[family]
    assert sizes["decoder", "embed"] == {variant.decoder.embed_dim} and sizes["vit", "heads"] == {variant.vit.num_heads}
    assert sizes["decoder", "layers"] == {variant.decoder.num_layers} and sizes["vit", "mlp"] == {variant.vit.mlp_dim}


def test_every_row_of_the_table_decides_some_parameter() -> None:
    """The first row that matches counts: one that an earlier row hides decides nothing, and neither does a dead one."""
    paths = [path for name in objectives.OBJECTIVES for path in parameter_paths.flatten(abstract(name, "mini"))]
    for name in small_models.SMALL:
        paths += parameter_paths.flatten(jax.eval_shape(quantization.quantize, small_models.shapes(name)))
    patterns = [pattern for pattern, _ in sharding.PARAMETER_AXES]
    decides = {next(pattern for pattern in patterns if re.fullmatch(pattern, path)) for path in paths}
    assert [pattern for pattern in patterns if pattern not in decides] == []


def test_an_unknown_parameter_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match="decoder/novel/kernel"):
        sharding.parameter_axes("decoder/novel/kernel")


def test_two_dimensions_on_one_mesh_axis_are_refused() -> None:
    rules = dataclasses.replace(sharding.PRESETS["fsdp_tp"], embed="tensor")
    with pytest.raises(ValueError, match="one mesh axis"):
        sharding.partition_spec(("embed", "mlp"), rules)


def test_a_size_that_does_not_divide_is_refused() -> None:
    mesh = sharding.make_mesh(data=1, fsdp=1, tensor=8)
    params = {"decoder": {"head": {"kernel": jax.ShapeDtypeStruct((32, 100), np.float32)}}}
    with pytest.raises(errors.ConfigError, match=r"mesh\.tensor=8: .* 100 of parameter decoder/head/kernel of shape"):
        sharding.parameter_shardings(params, mesh, sharding.PRESETS["fsdp_tp"])


@pytest.mark.parametrize(
    ("mesh_sizes", "preset", "wanted"),
    [
        ((8, 1, 1), "single", {"decoder/head/kernel": (32, 2560), "decoder/blocks/mlp/up/kernel": (2, 32, 88)}),
        ((2, 4, 1), "fsdp", {"decoder/head/kernel": (8, 2560), "vit/blocks/attn/query/kernel": (2, 8, 2, 16)}),
        ((2, 2, 2), "fsdp_tp", {"decoder/head/kernel": (16, 1280), "vit/blocks/attn/query/kernel": (2, 16, 1, 16)}),
        ((1, 4, 2), "fsdp_tp", {"decoder/blocks/mlp/down/kernel": (2, 44, 8), "qformer/query_tokens": (4, 8)}),
    ],
)
def test_shards_have_the_shapes_of_the_preset(mesh_sizes, preset: str, wanted: dict) -> None:
    data, fsdp, tensor = mesh_sizes
    mesh = sharding.make_mesh(data=data, fsdp=fsdp, tensor=tensor)
    params = abstract("response", "tiny")
    shapes = parameter_paths.flatten(params)
    places = parameter_paths.flatten(sharding.parameter_shardings(params, mesh, sharding.PRESETS[preset]))
    assert {path: places[path].shard_shape(shapes[path].shape) for path in wanted} == wanted


def test_mesh_takes_what_is_left_and_refuses_what_does_not_fit() -> None:
    assert dict(sharding.make_mesh(data=-1, fsdp=2, tensor=2).shape) == {"data": 2, "fsdp": 2, "tensor": 2}
    with pytest.raises(errors.ConfigError, match="8 devices"):
        sharding.make_mesh(data=3, fsdp=1, tensor=1)
    with pytest.raises(errors.ConfigError, match="8 devices"):
        sharding.make_mesh(data=-1, fsdp=3, tensor=1)


def test_batches_are_split_over_data_and_fsdp() -> None:
    mesh = sharding.make_mesh(data=2, fsdp=2, tensor=2)
    assert sharding.batch_sharding(mesh, sharding.PRESETS["fsdp"]).shard_shape((8, 3)) == (2, 3)
    assert sharding.replicated(mesh).spec == PartitionSpec()


def test_flatten_and_unflatten_are_inverse() -> None:
    tree = {"b": {"c": 1, "a": {"x": 2}}, "a": 3}
    assert parameter_paths.unflatten(parameter_paths.flatten(tree)) == tree


def test_config_lists_the_names_that_other_modules_define() -> None:
    """config/checks.py cannot import JAX, so it holds copies of these names."""
    for path, table in (
        ("mesh.rules", sharding.PRESETS),
        ("objective", objectives.OBJECTIVES),
    ):
        allowed = config.CHECKS[path][1].removeprefix("one of ").split(", ")
        assert sorted(allowed) == sorted(table)
    assert sorted(config.TRAINED_VARIANTS) == sorted(VARIANTS)


def test_a_mesh_takes_what_is_left_along_one_axis_alone():
    assert tuple(sharding.make_mesh().shape.values()) == (8, 1, 1)
    assert tuple(sharding.make_mesh(data=2, fsdp=-1, tensor=2).shape.values()) == (2, 2, 2)
    for sizes in ((-1, -1, -1), (-1, -1, 8), (-1, 3, 1), (4, 4, 1), (1, 1, 1)):
        with pytest.raises(errors.ConfigError, match="do not multiply to the 8 devices"):
            sharding.make_mesh(**dict(zip(sharding.MESH_AXES, sizes, strict=True)))
