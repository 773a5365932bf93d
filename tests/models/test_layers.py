"""Shared layers against their definitions."""

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
