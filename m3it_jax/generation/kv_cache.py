"""The cache of keys and values: a tree of arrays that goes into `VLM.extend` and comes out of it.

All rows write the same slots, from `next_slot` on, so that new keys and values are one slice written in place. A row's
tokens therefore have gaps between them where other rows are longer: a token's position is not its slot. Two rows in 8
slots after a prompt of 4 and of 2 tokens, and after one more token each (`.` is an empty slot, `_` a gap):

    segment_ids   1 1 1 1 . . . .   lengths 4   next_slot 4      1 1 1 1 1 . . .   lengths 5   next_slot 5
    positions     0 1 2 3                                        0 1 2 3 4
    segment_ids   1 1 _ _ . . . .   lengths 2                    1 1 _ _ 1 . . .   lengths 3
    positions     0 1                                            0 1     2

Arrays: `layers`, for each layer `k` [B, K, H, S] and `v` [B, K, S, H] (and of an encoder-decoder model what
`models/encoder_decoder.py` adds); `positions`, `segment_ids` int32 [B, S], segment 0 =
nothing to attend to; `lengths` int32 [B], tokens of each row; `next_slot` int32 [], the same for all rows.
"""

from typing import Any

import jax
import jax.numpy as jnp

from m3it_jax.models.decoder import DecoderConfig
from m3it_jax.models.encoder_decoder import EncoderDecoderConfig

KVCache = dict[str, Any]


def make(config: DecoderConfig | EncoderDecoderConfig, *, num_rows: int, num_slots: int, dtype: jnp.dtype) -> KVCache:
    """Returns an empty cache for `num_rows` rows of at most `num_slots` tokens."""
    heads = (num_rows, config.num_kv_heads)
    shapes = {"k": (*heads, config.head_dim, num_slots), "v": (*heads, num_slots, config.head_dim)}
    return {
        "layers": [{name: jnp.zeros(shape, dtype) for name, shape in shapes.items()} for _ in range(config.num_layers)],
        "positions": jnp.zeros((num_rows, num_slots), jnp.int32),
        "segment_ids": jnp.zeros((num_rows, num_slots), jnp.int32),
        "lengths": jnp.zeros(num_rows, jnp.int32),
        "next_slot": jnp.int32(0),
    }


def truncate(kv_cache: KVCache, lengths: jax.Array) -> KVCache:
    """Returns the cache with the first `lengths` int32 [B] tokens of each row alone; the rest is never attended to."""
    kept = (kv_cache["segment_ids"] > 0) & (kv_cache["positions"] < lengths[:, None])
    slots = jnp.arange(1, kept.shape[1] + 1, dtype=jnp.int32)
    return {
        **kv_cache,
        "segment_ids": jnp.where(kept, kv_cache["segment_ids"], 0),
        "lengths": jnp.minimum(kv_cache["lengths"], lengths),
        "next_slot": jnp.where(kept.any(axis=0), slots, 0).max(),
    }


def grow(kv_cache: KVCache, num_slots: int) -> KVCache:
    """Returns the cache with empty slots added at the end of every row, up to `num_slots`."""

    def pad(leaf: jax.Array, axis: int) -> jax.Array:
        widths = [(0, num_slots - leaf.shape[axis] if number == axis else 0) for number in range(leaf.ndim)]
        return jnp.pad(leaf, widths)

    layers = [{**layer, "k": pad(layer["k"], 3), "v": pad(layer["v"], 2)} for layer in kv_cache["layers"]]
    index = {name: pad(kv_cache[name], 1) for name in ("positions", "segment_ids")}
    return {**kv_cache, **index, "layers": layers}


def take_rows(kv_cache: KVCache, rows: jax.Array) -> KVCache:
    """Returns the cache whose row b is row `rows[b]` of this one; a row may be taken several times."""
    return jax.tree.map(lambda leaf: jnp.take(leaf, rows, axis=0) if leaf.ndim else leaf, kv_cache)
