"""int8 kernels: how far a weight, an output and the scores move, and what they weigh."""

import jax
import numpy as np
import pytest
import small_models

from m3it_jax import parameter_paths
from m3it_jax.models import quantization


def restored(leaves: dict, path: str) -> np.ndarray:
    axes = (0,) if "head" in path else (1, 2) if "/out/" in path else (1,)
    return np.asarray(leaves[path], np.float32) * np.expand_dims(leaves[f"{path}_scale"], axes)


@pytest.mark.parametrize("shape, axes", [((5, 7, 3), (1,)), ((2, 4, 6, 5), (1, 2)), ((9, 4), (0,))])
def test_a_weight_moves_by_at_most_half_the_scale_of_its_channel(shape, axes) -> None:
    kernel = np.random.default_rng(0).normal(size=shape).astype(np.float32)
    kernel[..., 0] = 0.0  # a channel of zeros
    numbers, scale = quantization.quantize_kernel(kernel, axes)
    assert numbers.dtype == np.int8 and scale.dtype == np.float32
    wide = np.expand_dims(scale, axes)
    assert np.all(np.abs(numbers * wide - kernel) <= wide / 2 * (1 + 1e-5))
    assert np.all(np.abs(numbers).max(axis=axes)[..., 1:] == 127)
    assert np.all(numbers[..., 0] == 0)


@pytest.mark.parametrize("name", ["ying_vlm", "blip2_opt", "blip2_t5"])
def test_scores_move_little_and_kernels_weigh_a_quarter(name: str) -> None:
    model, params = small_models.make(name)
    batch = small_models.make_batch(small_models.SMALL[name])
    quantized = quantization.quantize(params)
    before, after = parameter_paths.flatten(params), parameter_paths.flatten(quantized)
    kernels = [path.removesuffix("_scale") for path in after if path.endswith("/kernel_scale")]
    assert all(path.startswith("decoder/") for path in kernels)
    assert {path for path in before if path.startswith("decoder/") and path.endswith("/kernel")} == set(kernels)
    assert 4 * sum(after[path].nbytes for path in kernels) == sum(before[path].nbytes for path in kernels)
    assert all(after[path] is before[path] for path in before.keys() - set(kernels))
    apply = jax.jit(model.apply)
    plain, moved = apply({"params": params}, batch), apply({"params": quantized}, batch)
    relative = np.linalg.norm(plain - moved) / np.linalg.norm(plain)
    assert 0.0 < relative < 0.03
    # The module computes with what the int8 numbers stand for: the same scores as with kernels made from them.
    as_float = {path: restored(after, path) if path in kernels else leaf for path, leaf in before.items()}
    np.testing.assert_allclose(moved, apply({"params": parameter_paths.unflatten(as_float)}, batch), atol=2e-4)


def test_arrays_of_the_host_stay_there_and_give_the_same_numbers() -> None:
    params = small_models.make("blip2_t5")[1]
    found = quantization.quantize(jax.tree.map(np.asarray, params))
    for path, leaf in parameter_paths.flatten(quantization.quantize(params)).items():
        other = parameter_paths.flatten(found)[path]
        assert isinstance(other, np.ndarray) and other.dtype == leaf.dtype
        np.testing.assert_allclose(
            other.astype("float32"), np.asarray(leaf, "float32"), atol=1.0 * (leaf.dtype == "int8")
        )
        assert np.mean(other != np.asarray(leaf)) < 0.01  # a quotient may round the other way
