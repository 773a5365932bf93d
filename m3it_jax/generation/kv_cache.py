"""The cache of keys and values: a tree of arrays that goes into `VLM.extend` and comes out of it.

Every row fills its own slots from the left, so rows of different lengths share a cache, and a token's position is its
slot. Two rows in 6 slots after a prompt of 4 and of 2 tokens, and after one more token each (`.` is an empty slot):

    segment_ids   1 1 1 1 . .   lengths 4        1 1 1 1 1 .   lengths 5
                  1 1 . . . .           2        1 1 1 . . .           3

Arrays: `k`, `v` [L, B, S, K, H]; `positions`, `segment_ids` int32 [B, S], segment 0 = nothing to attend to; `lengths`
int32 [B], the next free slot of each row.
"""

import jax
import jax.numpy as jnp

from m3it_jax.models.decoder import DecoderConfig
from m3it_jax.models.encoder_decoder import EncoderDecoderConfig

KVCache = dict[str, jax.Array]

# k and v carry the layers in front of the rows, the other arrays begin with the rows.
_ROW_AXIS = {"k": 1, "v": 1}


def make(config: DecoderConfig | EncoderDecoderConfig, *, num_rows: int, num_slots: int, dtype: jnp.dtype) -> KVCache:
    """Returns an empty cache for `num_rows` rows of at most `num_slots` tokens."""
    shape = (config.num_layers, num_rows, num_slots, config.num_kv_heads, config.head_dim)
    return {
        "k": jnp.zeros(shape, dtype),
        "v": jnp.zeros(shape, dtype),
        "positions": jnp.zeros((num_rows, num_slots), jnp.int32),
        "segment_ids": jnp.zeros((num_rows, num_slots), jnp.int32),
        "lengths": jnp.zeros(num_rows, jnp.int32),
    }


def truncate(kv_cache: KVCache, lengths: jax.Array) -> KVCache:
    """Returns the cache with the first `lengths` int32 [B] tokens of each row alone; the rest is never attended to."""
    kept = jnp.arange(kv_cache["segment_ids"].shape[1])[None, :] < lengths[:, None]
    return {
        **kv_cache,
        "segment_ids": jnp.where(kept, kv_cache["segment_ids"], 0),
        "lengths": jnp.minimum(kv_cache["lengths"], lengths),
    }


def grow(kv_cache: KVCache, num_slots: int) -> KVCache:
    """Returns the cache with empty slots added at the end of every row, up to `num_slots`."""

    def pad(name: str, leaf: jax.Array) -> jax.Array:
        if name == "lengths":
            return leaf
        axis = _ROW_AXIS.get(name, 0) + 1
        widths = [(0, num_slots - leaf.shape[axis] if number == axis else 0) for number in range(leaf.ndim)]
        return jnp.pad(leaf, widths)

    return {name: pad(name, leaf) for name, leaf in kv_cache.items()}


def take_rows(kv_cache: KVCache, rows: jax.Array) -> KVCache:
    """Returns the cache whose row b is row `rows[b]` of this one; a row may be taken several times."""
    return {name: jnp.take(leaf, rows, axis=_ROW_AXIS.get(name, 0)) for name, leaf in kv_cache.items()}
