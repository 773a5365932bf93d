"""Shared layers against their definitions."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from m3it_jax.models import layers


def test_quick_gelu_and_its_hand_written_gradient() -> None:
    x = jnp.linspace(-6.0, 6.0, 101)

    def plain(x: jax.Array) -> jax.Array:
        return x * jax.nn.sigmoid(1.702 * x)

    np.testing.assert_allclose(layers.quick_gelu(x), plain(x), atol=1e-6)
    ours, reference = (jax.vmap(jax.grad(function))(x) for function in (layers.quick_gelu, plain))
    np.testing.assert_allclose(ours, reference, atol=1e-6)


def test_rotation_keeps_lengths_and_depends_on_distance_alone() -> None:
    query, key = jax.random.normal(jax.random.key(0), (2, 1, 1, 1, 8))

    def score(first: int, second: int) -> float:
        rotated = [layers.rotate(x, jnp.asarray([[place]]), 10_000.0) for x, place in ((query, first), (key, second))]
        return float((rotated[0] * rotated[1]).sum())

    assert score(3, 7) == pytest.approx(score(103, 107), abs=1e-4)
    assert score(3, 7) != pytest.approx(score(3, 8), abs=1e-3)
    turned = layers.rotate(query, jnp.asarray([[5]]), 10_000.0)
    assert float(jnp.linalg.norm(turned)) == pytest.approx(float(jnp.linalg.norm(query)), rel=1e-5)


def test_attend_equals_the_formula_with_grouped_heads() -> None:
    keys = jax.random.split(jax.random.key(1), 3)
    query = jax.random.normal(keys[0], (2, 5, 6, 4))
    key, value = (jax.random.normal(k, (2, 7, 3, 4)) for k in keys[1:])
    mask = jnp.arange(7)[None, None, None] <= jnp.arange(5)[None, None, :, None]
    mask = jnp.broadcast_to(mask, (2, 1, 5, 7))
    wide_key, wide_value = (jnp.repeat(x, 2, axis=2) for x in (key, value))
    scores = jnp.einsum("BTNH,BSNH->BNTS", query, wide_key) / 2.0
    weights = jax.nn.softmax(jnp.where(mask, scores, -jnp.inf))
    np.testing.assert_allclose(
        layers.attend(query, key, value, mask=mask), jnp.einsum("BNTS,BSNH->BTNH", weights, wide_value), atol=1e-5
    )


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_attention_with_next_to_no_dropout_is_attention_without(dtype: str) -> None:
    """Both forms scale, mask and sum alike: else a model would be trained in one way and evaluated in another."""
    x, context = (jax.random.normal(jax.random.key(seed), (2, length, 12)) * 2 for seed, length in ((0, 5), (1, 7)))
    mask = jnp.arange(7)[None, None, None] < jnp.asarray([[[[7]]], [[[4]]]])
    plain = layers.Attention(3, 16, jnp.dtype(dtype))
    params = plain.init(jax.random.key(2), x, context)
    wanted = plain.apply(params, x, context, mask=mask)
    dropping = layers.Attention(3, 16, jnp.dtype(dtype), dropout_rate=1e-7)
    found = dropping.apply(params, x, context, mask=mask, deterministic=False, rngs={"dropout": jax.random.key(3)})
    assert found.dtype == wanted.dtype
    np.testing.assert_allclose(
        np.asarray(found, np.float32), np.asarray(wanted, np.float32), atol=1e-5 if dtype == "float32" else 0.05
    )
    np.testing.assert_array_equal(
        dropping.apply(params, x, context, mask=mask), wanted
    )  # none where there is no chance


def test_dropout_falls_on_whole_weights_and_keeps_their_mean() -> None:
    """Of equal weights over values of one, a half is lost and the others count twice."""
    attention = layers.Attention(1, 2, jnp.dtype("float32"), dropout_rate=0.5)
    params = attention.init(jax.random.key(0), jnp.ones((1, 400, 2)))
    params = jax.tree.map(jnp.zeros_like, params)
    params["params"]["value"]["bias"] += 1.0
    params["params"]["out"]["kernel"] += 0.5
    outputs = attention.apply(params, jnp.ones((1, 400, 2)), deterministic=False, rngs={"dropout": jax.random.key(1)})
    kept = np.asarray(outputs)[0, :, 0] * 400 / 2  # weights that were kept, of 400
    np.testing.assert_allclose(kept, np.round(kept), atol=1e-2)
    assert abs(kept.mean() - 200) < 5 and kept.std() > 5


def test_rotation_turns_pairs_by_the_angle_of_its_base() -> None:
    """Pair i of a head of width H turns by position * base^(-2i/H): RoFormer (arXiv 2104.09864, equation 15)."""
    x = np.random.default_rng(0).normal(size=(2, 3, 2, 6)).astype(np.float32)
    positions = np.array([[0, 1, 7], [5, 40, 300]])
    for base in (10_000.0, 500_000.0, 100.0):
        turned = np.asarray(layers.rotate(jnp.asarray(x), jnp.asarray(positions), base))
        for pair in range(3):
            angle = (positions * float(base) ** (-2 * pair / 6))[:, :, None]
            number = (x[..., pair] + 1j * x[..., pair + 3]) * np.exp(1j * angle)
            np.testing.assert_allclose(turned[..., pair], number.real, atol=1e-4)
            np.testing.assert_allclose(turned[..., pair + 3], number.imag, atol=1e-4)


def test_a_transposed_kernel_gives_the_same_product() -> None:
    """[out, in] in the place of the axes as they are (generation/layered.py), with and without a bias."""
    x = jax.random.normal(jax.random.key(0), (2, 5, 3, 4))
    linear = layers.Linear((6, 7), jnp.dtype("float32"), num_axes=2)
    params = linear.init(jax.random.key(1), x)["params"] | {"bias": jax.random.normal(jax.random.key(2), (6, 7))}
    wanted = np.einsum("BTij,ijkl->BTkl", x, params["kernel"]) + np.asarray(params["bias"])
    turned = {"bias": params["bias"], "transposed_kernel": params["kernel"].reshape(12, 42).T}
    for given in (params, turned):
        np.testing.assert_allclose(linear.apply({"params": given}, x), wanted, atol=1e-4)


@pytest.mark.parametrize("listed", [True, False])
def test_each_block_reads_and_writes_its_own_cache_and_hands_on_what_it_made(listed: bool) -> None:
    """With caches or without, blocks on their own or one that is scanned."""
    met = []

    def block(number: int) -> Callable[..., tuple[jax.Array, str]]:
        def run(x: jax.Array, cache: str | None, where: str) -> tuple[jax.Array, str]:
            met.append((number, float(x), cache, where))
            return 10 * x + number, f"{cache} after {number}"

        return run

    blocks: Any = [block(1), block(2), block(3)] if listed else block(1)
    numbers = (1, 2, 3)[: 3 if listed else 1]
    entering = (5.0, 51.0, 512.0)
    for caches in (None, [f"cache {number}" for number in numbers]):
        met.clear()
        x, written = layers.through(blocks, jnp.asarray(5.0), caches=caches, where="here")
        given = caches or [None] * len(numbers)
        assert met == [(number, entering[number - 1], given[number - 1], "here") for number in numbers]
        assert written == [f"{given[number - 1]} after {number}" for number in numbers]
        assert float(x) == (5123.0 if listed else 51.0)
    with pytest.raises(ValueError, match="zip"):  # a cache too many belongs to another model
        layers.through(blocks, jnp.asarray(5.0), caches=["cache"] * (len(numbers) + 1), where="here")
