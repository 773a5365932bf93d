"""Which implementation of attention is taken, by shapes and types alone, and that T5's bias and scale come through."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from m3it_jax import sharding
from m3it_jax.models import attention, layers


@pytest.fixture
def cudnn_cases(monkeypatch) -> list[tuple[int, ...]]:
    """A GPU whose cuDNN takes what it is given, as far as tracing can tell; the query shapes that it was given."""
    plain, seen = jax.nn.dot_product_attention, []

    def spy(query, key, value, *, implementation, **options):
        if implementation == "cudnn":
            if query.shape[-1] > 128:
                raise NotImplementedError("too wide")
            seen.append(query.shape)
        return plain(query, key, value, **options)

    monkeypatch.setattr(jax.nn, "dot_product_attention", spy)
    monkeypatch.setattr(attention, "platform", lambda: "gpu")
    return seen


def arrays(dtype: str, *, length: int = 6, width: int = 8) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    query, key, value = jax.random.normal(jax.random.key(0), (3, 2, length, 4, width)).astype(dtype)
    return (
        query,
        key,
        value,
        jnp.arange(length)[None, None, None] < jnp.asarray([length, length - 2])[:, None, None, None],
    )


@pytest.mark.parametrize(
    ("dtype", "length", "width", "masked", "wanted"),
    [
        ("bfloat16", 6, 8, True, True),
        ("float16", 6, 8, False, True),
        ("bfloat16", 7, 8, False, True),
        ("bfloat16", 7, 8, True, False),  # odd and masked
        ("float32", 6, 8, True, False),
        ("bfloat16", 6, 136, True, False),  # the library's own check refuses
    ],
)
def test_cudnn_is_taken_where_it_can(cudnn_cases, dtype, length, width, masked, wanted) -> None:
    query, key, value, mask = arrays(dtype, length=length, width=width)
    mask = mask if masked else None
    out = layers.attend(query, key, value, mask=mask)
    assert bool(cudnn_cases) == wanted
    plain = attention.IMPLEMENTATIONS[-1][2](query, key, value, mask=mask, bias=None, scale=None)
    np.testing.assert_allclose(out.astype("float32"), plain.astype("float32"), atol=1e-2)


def test_a_gpu_without_cudnn_takes_xla(monkeypatch) -> None:
    monkeypatch.setattr(attention, "platform", lambda: "gpu")
    query, key, _, mask = arrays("bfloat16")
    assert attention.choose(query, key, mask=mask, bias=None) is attention.IMPLEMENTATIONS[-1][2]


def test_the_platform_is_that_of_the_mesh() -> None:
    with jax.set_mesh(sharding.make_mesh()):
        assert attention.platform() == "cpu"
    assert attention.platform() == jax.default_backend()


def test_bias_and_scale_are_those_of_the_formula() -> None:
    query, key, value, mask = arrays("float32")
    bias = jax.random.normal(jax.random.key(1), (1, 4, 6, 6))
    scores = jnp.einsum("BTNH,BSNH->BNTS", query, key) * 0.5 + bias
    wanted = jnp.einsum("BNTS,BSNH->BTNH", jax.nn.softmax(jnp.where(mask, scores, -jnp.inf)), value)
    np.testing.assert_allclose(layers.attend(query, key, value, mask=mask, bias=bias, scale=0.5), wanted, atol=1e-5)


def test_scores_in_half_precision_meet_the_softmax_in_float32() -> None:
    """In bfloat16 the softmax of 2,000 equal scores would lose a percent; the weights' own rounding loses 0.4."""
    query, key = jnp.zeros((1, 1, 1, 8), "bfloat16"), jnp.zeros((1, 2_000, 1, 8), "bfloat16")
    value = jnp.ones((1, 2_000, 1, 8), "bfloat16")
    np.testing.assert_allclose(layers.attend(query, key, value).astype("float32"), 1.0, rtol=4e-3)


@pytest.mark.parametrize(("num_queries", "num_keys", "wanted"), [(6, 6, True), (5, 6, False), (6, 5, False)])
def test_masked_lengths_must_both_be_even_for_cudnn(cudnn_cases, num_queries, num_keys, wanted) -> None:
    query, _, _, _ = arrays("bfloat16", length=num_queries)
    key, _, _, mask = arrays("bfloat16", length=num_keys)
    layers.attend(query, key, key, mask=mask)
    assert bool(cudnn_cases) == wanted
