"""A merged kernel computes what the kernel and the adapter beside it do, whatever part of whatever family it is in."""

import jax
import numpy as np
import pytest
import small_models

from m3it_jax import adapter_weights, parameter_paths, sharding
from m3it_jax.models import vlm
from m3it_jax.training import adapters


def adapted(name: str) -> dict[str, np.ndarray]:
    """Returns {path: array} of a small model, every kernel that can carry an adapter with one."""
    params = small_models.make(name)[1]
    targets = tuple(path for path in parameter_paths.flatten(params) if adapter_weights.num_inputs(path))
    like = adapters.Adapters(2, 6.0, 0.0, targets)
    leaves, rng = dict(parameter_paths.flatten(params)), np.random.default_rng(0)
    for path, leaf in parameter_paths.flatten(adapters.added(params, like)).items():
        if adapter_weights.kernel_of(path):
            leaves[path] = rng.normal(0.0, 0.2, leaf.shape).astype(np.float32)
    return leaves


@pytest.mark.parametrize("name", ["instructblip", "llava", "blip2_t5"])
def test_merged_computes_what_kernel_and_adapter_do(name: str) -> None:
    leaves = adapted(name)
    kernels = [path for path in leaves if path.endswith("/kernel")]
    without = {path for path in kernels if adapter_weights.beside(path)[0] not in leaves}
    assert without == {"vit/patch_embedding/kernel"}
    merged = adapter_weights.merged(leaves)
    assert merged.keys() == parameter_paths.flatten(small_models.shapes(name)).keys()
    apply = jax.jit(vlm.make_vlm(small_models.SMALL[name]).apply)
    batch = small_models.make_batch(small_models.SMALL[name])
    found, wanted, base = (
        np.asarray(apply({"params": parameter_paths.unflatten(held)}, batch))
        for held in (leaves, merged, {path: leaf for path, leaf in leaves.items() if path in merged})
    )
    np.testing.assert_allclose(found, wanted, atol=2e-4 * np.abs(wanted).max())
    assert np.abs(base - wanted).max() > 0.01 * np.abs(wanted).max(), "the adapters do nothing"


def test_a_merged_kernel_keeps_its_type_and_is_rounded_once() -> None:
    half = jax.numpy.bfloat16
    leaves = {
        "projection/kernel": np.ones((2, 3), half),
        "projection/lora_a": np.full((2, 1), 1 / 3, np.float32),
        "projection/lora_b": np.full((1, 3), 1 / 3, np.float32),
        "projection/lora_scale": np.float32(2.0),
        "projection/bias": np.zeros(3, np.float32),
    }
    made = adapter_weights.merged(leaves)
    assert made.keys() == {"projection/kernel", "projection/bias"} and made["projection/kernel"].dtype == half
    np.testing.assert_array_equal(made["projection/kernel"], np.full((2, 3), 1 + 2 / 9).astype(half))
    plain = {"decoder/head/kernel": np.ones(3)}
    assert adapter_weights.merged(plain) == plain


@pytest.mark.parametrize("name", ["instructblip", "blip2_t5"])
def test_an_adapter_lies_on_the_mesh_as_its_kernel_does(name: str) -> None:
    for path, leaf in adapted(name).items():
        axes = sharding.parameter_axes(path)
        assert len(axes) == leaf.ndim, path
        if kernel := adapter_weights.kernel_of(path):
            rank = {adapter_weights.A: -1, adapter_weights.B: int(adapter_weights.is_stacked(kernel))}
            name = path.rpartition("/")[2]
            assert name not in rank or axes[rank[name]] is None, path
            assert set(axes) - {None} <= set(sharding.parameter_axes(kernel)), path
