"""The language model: causality, segments, and the cache against the whole forward pass."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from m3it_jax.models.decoder import Decoder
from m3it_jax.models.variants import VARIANTS

# Grouped heads and a vocabulary off the usual multiples: what a shortcut in the code would trip over.
CONFIG = dataclasses.replace(VARIANTS["tiny"].decoder, num_heads=4, num_kv_heads=2, head_dim=10, vocab_size=77)
NUM_ROWS, LENGTH = 3, 12


@pytest.fixture(scope="module")
def model() -> tuple[Decoder, dict]:
    decoder = Decoder(CONFIG, jnp.dtype("float32"))
    embeds, positions, segments = whole_rows()
    params = decoder.init(jax.random.key(0), embeds, positions, segments, method="hidden")
    head = decoder.init(jax.random.key(0), embeds, method="logits")
    return decoder, {"params": {**params["params"], **head["params"]}}


def whole_rows() -> tuple[jax.Array, jax.Array, jax.Array]:
    embeds = jax.random.normal(jax.random.key(1), (NUM_ROWS, LENGTH, CONFIG.embed_dim))
    positions = jnp.broadcast_to(jnp.arange(LENGTH), (NUM_ROWS, LENGTH))
    return embeds, positions, jnp.ones((NUM_ROWS, LENGTH), jnp.int32)


def empty_cache(num_slots: int) -> dict[str, jax.Array]:
    shape = (CONFIG.num_layers, NUM_ROWS, num_slots, CONFIG.num_kv_heads, CONFIG.head_dim)
    return {
        "k": jnp.zeros(shape),
        "v": jnp.zeros(shape),
        "positions": jnp.zeros((NUM_ROWS, num_slots), jnp.int32),
        "segment_ids": jnp.zeros((NUM_ROWS, num_slots), jnp.int32),
        "lengths": jnp.zeros(NUM_ROWS, jnp.int32),
    }


def test_a_later_token_has_no_gradient_in_an_earlier_output(model) -> None:
    """The mask is the only way from a token to another, so the gradient must be zero to the last bit."""
    decoder, params = model
    embeds, positions, segments = whole_rows()

    def at_five(embeds: jax.Array) -> jax.Array:
        return decoder.apply(params, embeds, positions, segments, method="hidden")[:, 5].sum()

    gradient = np.asarray(jax.grad(at_five)(embeds))
    assert np.all(gradient[:, 6:] == 0.0)
    assert np.all(np.abs(gradient[:, :6]).max(axis=-1) > 0.0)


def test_segments_of_a_row_do_not_leak(model) -> None:
    decoder, params = model
    embeds, positions, _ = whole_rows()
    segments = jnp.broadcast_to(jnp.asarray([1] * 5 + [2] * 5 + [0] * 2), (NUM_ROWS, LENGTH))
    restarted = jnp.where(segments == 2, positions - 5, positions)

    def second(embeds: jax.Array) -> jax.Array:
        return decoder.apply(params, embeds, restarted, segments, method="hidden")[:, 5:10].sum()

    gradient = np.asarray(jax.grad(second)(embeds))
    assert np.all(gradient[:, :5] == 0.0) and np.all(gradient[:, 10:] == 0.0)
    alone = decoder.apply(params, embeds[:, 5:10], positions[:, :5], segments[:, :5], method="hidden")
    packed = decoder.apply(params, embeds, restarted, segments, method="hidden")[:, 5:10]
    np.testing.assert_allclose(packed, alone, atol=1e-5)


@pytest.mark.parametrize("split", [1, 4, 11])
def test_prefill_and_extend_equal_the_whole_forward(model, split: int) -> None:
    decoder, params = model
    embeds, positions, segments = whole_rows()
    whole = decoder.apply(params, embeds, positions, segments, method="hidden")
    cache = empty_cache(LENGTH + 3)
    parts = []
    for piece in (slice(0, split), slice(split, LENGTH)):
        hidden, cache = decoder.apply(
            params, embeds[:, piece], positions[:, piece], segments[:, piece], cache=cache, method="extend"
        )
        parts.append(hidden)
    np.testing.assert_allclose(jnp.concatenate(parts, axis=1), whole, atol=1e-5)
    assert np.all(np.asarray(cache["lengths"]) == LENGTH)


def test_rows_padded_to_different_lengths_extend_as_if_alone(model) -> None:
    """Row b has 3 + b real tokens in the first call; its padding is written over by the second."""
    decoder, params = model
    embeds, positions, ones = whole_rows()
    whole = decoder.apply(params, embeds, positions, ones, method="hidden")
    lengths = np.array([3, 4, 5])
    segments = jnp.asarray(np.arange(5)[None] < lengths[:, None], jnp.int32)
    _, cache = decoder.apply(params, embeds[:, :5], positions[:, :5], segments, cache=empty_cache(9), method="extend")
    taken = np.stack([np.arange(length, length + 4) for length in lengths])
    rows = np.arange(NUM_ROWS)[:, None]
    hidden, _ = decoder.apply(
        params, embeds[rows, taken], positions[rows, taken], jnp.ones_like(taken), cache=cache, method="extend"
    )
    np.testing.assert_allclose(hidden, whole[rows, taken], atol=1e-5)
