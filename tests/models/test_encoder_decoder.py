"""T5: its buckets of distances, and that what is written sees what was read and nothing that comes later."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small_models

from m3it_jax.generation import kv_cache
from m3it_jax.models.encoder_decoder import EncoderDecoder, RelativeBias, distance_buckets

CONFIG = small_models.T5

# Least distance of each logarithmic bucket of 32 up to 128, as transformers 5.24 has them
# (T5Attention._relative_position_bucket): where the encoder looks ahead, and in the decoder.
AHEAD = [8, 12, 16, 23, 32, 46, 64, 91]
BEHIND = [16, 19, 21, 24, 27, 31, 35, 40, 46, 52, 59, 67, 77, 87, 99, 113]


@pytest.mark.parametrize(("num_buckets", "borders"), [(16, AHEAD), (32, BEHIND)])
def test_buckets_of_the_published_sizes(num_buckets: int, borders: list[int]) -> None:
    table = distance_buckets(num_buckets, 128)
    half = num_buckets // 2
    assert table.tolist()[:half] == list(range(half))
    assert [int(np.flatnonzero(table >= bucket)[0]) for bucket in range(half, num_buckets)] == borders


def test_the_bias_tells_before_from_after_only_where_it_looks_ahead() -> None:
    places = jnp.arange(12)[None]
    table = jnp.arange(10.0)[:, None] * jnp.ones(4)

    def buckets(looks_ahead: bool) -> np.ndarray:
        bias = RelativeBias(CONFIG, looks_ahead).apply({"params": {"embedding": table}}, places, places)
        return np.asarray(bias)[0, 0].astype(int)

    both, behind = buckets(True), buckets(False)
    assert np.all(both[np.triu_indices(12, 1)] >= 5) and np.all(both[np.tril_indices(12)] < 5)
    assert np.all(behind[np.triu_indices(12)] == 0) and behind[3, 2] == 1
    # Distances alone count: the same along every diagonal.
    assert all(len(set(np.diagonal(both, offset))) == 1 for offset in range(-11, 12))


def test_a_written_token_sees_what_was_read_and_no_later_token() -> None:
    model, params = EncoderDecoder(CONFIG, jnp.dtype("float32")), small_models.make("blip2_t5")[1]["decoder"]
    embeds = jax.random.normal(jax.random.key(0), (1, 7, CONFIG.embed_dim))
    segment_ids = jnp.asarray([[1] * 5 + [0] * 2])
    ids = jnp.asarray([[0, 5, 9, 4]])

    @jax.jit
    def scores(embeds: jax.Array, ids: jax.Array) -> jax.Array:
        encoded = model.apply({"params": params}, embeds, segment_ids, method="encode")
        return model.apply({"params": params}, ids, encoded, segment_ids, method="decode")

    gradient = jax.jit(jax.grad(lambda embeds: scores(embeds, ids)[0, 2].sum()))(embeds)
    size = np.abs(np.asarray(gradient)).max(axis=-1)[0]
    assert np.all(size[:5] > 0.0) and np.all(size[5:] == 0.0)
    whole, changed = scores(embeds, ids), scores(embeds, ids.at[0, 3].set(8))
    np.testing.assert_array_equal(whole[:, :3], changed[:, :3])
    assert np.abs(whole[:, 3] - changed[:, 3]).max() > 1e-3


@pytest.mark.parametrize("merged", [False, True])
def test_writing_token_by_token_from_a_cache_equals_the_whole_answer_at_once(merged: bool) -> None:
    """What was read, what was written and the distances between are the same in a cache (layers of their own)."""
    name = "blip2_t5"
    stacked = small_models.make(name)[1]["decoder"]
    rest = {part: leaf for part, leaf in stacked.items() if part != "blocks"}
    own = {f"blocks_{n}": jax.tree.map(lambda leaf, n=n: leaf[n], stacked["blocks"]) for n in range(CONFIG.num_layers)}
    whole = EncoderDecoder(CONFIG, jnp.dtype("float32"))
    if merged:  # query, key and value of the tokens as one product
        for block in own.values():
            kernels = [block["attn"].pop(part)["kernel"] for part in ("query", "key", "value")]
            block["attn"]["qkv"] = {"kernel": jnp.concatenate(kernels, axis=1)}
    layered, params = whole.clone(layered=True), {"params": {**rest, **own}}
    embeds = jax.random.normal(jax.random.key(0), (2, 7, CONFIG.embed_dim))
    segment_ids = jnp.asarray([[1] * 7, [1] * 5 + [0] * 2])
    ids = jnp.asarray([[CONFIG.start_id, 5, 9, 4], [CONFIG.start_id, 8, 3, 1]])
    encoded = whole.apply({"params": stacked}, embeds, segment_ids, method="encode")
    wanted = np.asarray(whole.apply({"params": stacked}, ids, encoded, segment_ids, method="decode"))
    places = jnp.zeros_like(segment_ids)
    cache = kv_cache.make(CONFIG, num_rows=2, num_slots=6, dtype=jnp.dtype("float32"))
    hidden, cache = layered.apply(params, embeds, places, segment_ids, cache=cache, method="prefill")
    assert hidden.shape[1] == 1
    for step in range(4):
        scores = layered.apply(params, hidden, method="logits")
        np.testing.assert_allclose(scores[:, 0], wanted[:, step], atol=1e-3)
        if step < 3:
            new = layered.apply(params, ids[:, step + 1 : step + 2], method="embed")
            at = jnp.full((2, 1), step + 1)
            hidden, cache = layered.apply(params, new, at, jnp.ones((2, 1), jnp.int32), cache=cache, method="extend")
