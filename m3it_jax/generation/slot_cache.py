"""The memory of the scheduler: a row of slots for each answer under way, and a pool of blocks of finished beginnings.

Arrays: of each layer `k` and `v`, lists of levels (`models/slots.py`); of the pool, for each layer `k` [N, K, H, C] and
`v` [N, K, C, H], N blocks of C tokens each. A block's content follows from the tokens and pictures up to its end alone,
since it is always computed in the same shape at the same place. So a copied block is the computed one, bit for bit.
"""

from typing import Any

import jax
import jax.numpy as jnp

from m3it_jax.models import slots
from m3it_jax.models.decoder import DecoderConfig
from m3it_jax.models.encoder_decoder import EncoderDecoderConfig

BLOCK = 32  # C. CHOICE: the queries of one picture of the full-size models; a multiple of what vector units take

# The first level's slots; every later level is as large as all before it, so a row is at most half empty levels.
_FIRST_LEVEL = 128

Layers = list[dict[str, Any]]


def levels(num_slots: int) -> tuple[int, ...]:
    """Returns the sizes of the levels of at least `num_slots` slots, each a multiple of `BLOCK`."""
    whole = -(-num_slots // BLOCK) * BLOCK
    sizes = [min(_FIRST_LEVEL, whole)]
    while sum(sizes) < whole:
        sizes.append(min(sum(sizes), whole - sum(sizes)))
    return tuple(sizes)


def make(config: DecoderConfig | EncoderDecoderConfig, *, num_rows: int, num_slots: int, dtype: jnp.dtype) -> Layers:
    """Returns an empty cache."""
    heads = (num_rows, config.num_kv_heads)
    return [
        {
            "k": [jnp.zeros((*heads, config.head_dim, size), dtype) for size in levels(num_slots)],
            "v": [jnp.zeros((*heads, size, config.head_dim), dtype) for size in levels(num_slots)],
        }
        for _ in range(config.num_layers)
    ]


def make_pool(config: DecoderConfig | EncoderDecoderConfig, *, num_blocks: int, dtype: jnp.dtype) -> Layers:
    """Returns an empty pool."""
    shapes = {"k": (config.head_dim, BLOCK), "v": (BLOCK, config.head_dim)}
    return [
        {name: jnp.zeros((num_blocks, config.num_kv_heads, *shape), dtype) for name, shape in shapes.items()}
        for _ in range(config.num_layers)
    ]


def block_bytes(config: DecoderConfig | EncoderDecoderConfig, dtype: jnp.dtype) -> int:
    """Returns the memory of one block of the pool."""
    return 2 * config.num_layers * config.num_kv_heads * config.head_dim * BLOCK * dtype.itemsize


def save(cache: Layers, pool: Layers, *, row: jax.Array, position: jax.Array, block: jax.Array) -> Layers:
    """Returns the pool with the row's block at `position` as its number `block`; a number N or more saves nothing."""
    saved = []
    for layer, kept in zip(cache, pool, strict=True):
        found = slots.read_block(layer, row=row, position=position, length=BLOCK)
        pairs = zip(("k", "v"), found, strict=True)
        saved.append({name: kept[name].at[block].set(array[0], mode="drop") for name, array in pairs})
    return saved


def copy(cache: Layers, pool: Layers, *, row: jax.Array, position: jax.Array, block: jax.Array) -> Layers:
    """Returns the cache with the pool's block of that number in the row at `position`."""
    copied = []
    for layer, kept in zip(cache, pool, strict=True):
        keys, values = (jax.lax.dynamic_slice_in_dim(kept[name], block, 1) for name in ("k", "v"))
        copied.append(slots.write_block(layer, keys, values, row=row, position=position))
    return copied


def clear(cache: Layers, row: jax.Array) -> Layers:
    """Returns the cache with zeros in a row: what is no number must not stay where a later answer has its zeros."""
    return jax.tree.map(lambda leaf: leaf.at[row].set(0), cache)
