"""The language model: causality, segments, and the cache against the whole forward pass."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from m3it_jax.generation import kv_cache
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


@pytest.fixture(scope="module")
def layered(model) -> tuple[Decoder, dict]:
    """The same model with parameters of its own for each layer: what takes a cache."""
    decoder, params = model
    rest = {name: part for name, part in params["params"].items() if name != "blocks"}
    blocks = params["params"]["blocks"]
    own = {f"blocks_{n}": jax.tree.map(lambda leaf, n=n: leaf[n], blocks) for n in range(CONFIG.num_layers)}
    return decoder.clone(layered=True), {"params": {**rest, **own}}


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


def test_merged_kernels_compute_what_the_parts_do(model, layered) -> None:
    """Query, key and value as one product, gate and up as one: the form in which tokens are made (ADR 0016)."""
    decoder, params = layered
    merged = {"params": dict(params["params"])}
    for number in range(CONFIG.num_layers):
        block = jax.tree.map(lambda leaf: leaf, params["params"][f"blocks_{number}"])
        kernels = [block["attn"].pop(name)["kernel"] for name in ("query", "key", "value")]
        block["attn"]["qkv"] = {"kernel": jnp.concatenate(kernels, axis=1)}
        kernels = [block["mlp"].pop(name)["kernel"] for name in ("gate", "up")]
        block["mlp"]["gate_up"] = {"kernel": jnp.concatenate(kernels, axis=1)}
        merged["params"][f"blocks_{number}"] = block
    rows = whole_rows()
    wanted = decoder.apply(params, *rows, method="hidden")
    np.testing.assert_allclose(decoder.apply(merged, *rows, method="hidden"), wanted, atol=1e-5)
    np.testing.assert_allclose(model[0].apply(model[1], *rows, method="hidden"), wanted, atol=1e-5)


@pytest.mark.parametrize("split", [1, 4, 11])
def test_prefill_and_extend_equal_the_whole_forward(model, layered, split: int) -> None:
    embeds, positions, segments = whole_rows()
    whole = model[0].apply(model[1], embeds, positions, segments, method="hidden")
    cache = kv_cache.make(CONFIG, num_rows=NUM_ROWS, num_slots=LENGTH + 3, dtype=jnp.dtype("float32"))
    decoder, params = layered
    last, cache = decoder.apply(
        params, embeds[:, :split], positions[:, :split], segments[:, :split], cache=cache, method="prefill"
    )
    rest, cache = decoder.apply(
        params, embeds[:, split:], positions[:, split:], segments[:, split:], cache=cache, method="extend"
    )
    np.testing.assert_allclose(jnp.concatenate([last, rest], axis=1), whole[:, split - 1 :], atol=1e-5)


def test_rows_padded_to_different_lengths_extend_as_if_alone(model, layered) -> None:
    """Row b has 3 + b real tokens in the first call, and its next tokens stand behind the padding of all."""
    embeds, positions, ones = whole_rows()
    whole = model[0].apply(model[1], embeds, positions, ones, method="hidden")
    lengths = np.array([3, 4, 5])
    segments = jnp.asarray(np.arange(5)[None] < lengths[:, None], jnp.int32)
    cache = kv_cache.make(CONFIG, num_rows=NUM_ROWS, num_slots=9, dtype=jnp.dtype("float32"))
    decoder, params = layered
    last, cache = decoder.apply(params, embeds[:, :5], positions[:, :5], segments, cache=cache, method="prefill")
    rows = np.arange(NUM_ROWS)[:, None]
    np.testing.assert_allclose(last, whole[rows, lengths[:, None] - 1], atol=1e-5)
    taken = np.stack([np.arange(length, length + 4) for length in lengths])
    hidden, _ = decoder.apply(
        params, embeds[rows, taken], positions[rows, taken], jnp.ones_like(taken), cache=cache, method="extend"
    )
    np.testing.assert_allclose(hidden, whole[rows, taken], atol=1e-5)
