"""Attention over a cache whose rows have lengths of their own, so that rows join and leave between steps.

The token at position p of a row stands in its slot p. The slots lie in levels, arrays of rising size, and a level that
no row has reached costs nothing. Two rows of 3 and 6 tokens in levels of 4 and 4 slots, before a step (`x`: a token,
`n`: the new one, `.`: whatever an earlier row has left, which is never attended to):

    row 0    x x x n   . . . .
    row 1    x x x x   x x n .

What a row sees does not depend on the other rows, to the last bit: every level is one product of a fixed shape, levels
are joined by the running softmax of arXiv 1805.02867, and a level without a token of the row adds exact zeros to it.
"""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

LevelCache = dict[str, list[Array]]  # `k`: [B, K, H, S] of each level, `v`: [B, K, S, H]

# A masked score: finite, so that a level without anything to see gives no NaN; above float32's least, so that the
# difference of two is finite too.
_MASKED = -1e30


class Place(NamedTuple):
    """Where new tokens go.

    Attributes:
      row: int32 [], the one row of the cache that is filled; None: one token in each row.
      num_used: int32 [], slots below which every token that is seen stands, the new ones included.
    """

    row: Array | None
    num_used: Array


def write(cache: LevelCache, key: Array, value: Array, *, positions: Array, place: Place) -> LevelCache:
    """Returns the cache with new keys and values [B, T, K, H] at their positions int32 [B, T].

    With `place.row`, B is 1 and the T positions are one aligned block, which lies in one level. Without, T is 1, and a
    position outside all levels writes nothing.
    """
    keys, values = key.transpose(0, 2, 3, 1), value.swapaxes(1, 2)
    if place.row is not None:
        return write_block(cache, keys, values, row=place.row, position=positions[0, 0])
    dtype, rows, start = cache["k"][0].dtype, jnp.arange(key.shape[0]), 0
    new: LevelCache = {"k": [], "v": []}
    for k, v in zip(cache["k"], cache["v"], strict=True):
        size, slot = k.shape[3], positions[:, 0] - start
        slot = jnp.where((slot >= 0) & (slot < size), slot, size)
        new["k"].append(k.at[rows, :, :, slot].set(keys[..., 0].astype(dtype), mode="drop"))
        new["v"].append(v.at[rows, :, slot].set(values[:, :, 0].astype(dtype), mode="drop"))
        start += size
    return new


def write_block(cache: LevelCache, keys: Array, values: Array, *, row: Array, position: Array) -> LevelCache:
    """Returns the cache with a block, keys [1, K, H, T] and values [1, K, T, H], in a row from `position` on.

    The block lies in one level: T divides every level's size and the position.
    """
    start, zero = 0, jnp.int32(0)
    new: LevelCache = {"k": [], "v": []}
    for k, v in zip(cache["k"], cache["v"], strict=True):
        slot = position - start
        inside = (slot >= 0) & (slot < k.shape[3])
        slot = jnp.where(inside, slot, 0)
        new["k"].append(_replace(k, keys, (row, zero, zero, slot), inside=inside))
        new["v"].append(_replace(v, values, (row, zero, slot, zero), inside=inside))
        start += k.shape[3]
    return new


def _replace(array: Array, block: Array, at: tuple[Array, ...], *, inside: Array) -> Array:
    """Returns the array with a block written, or what stood there written again."""
    before = jax.lax.dynamic_slice(array, at, block.shape)
    return jax.lax.dynamic_update_slice(array, jnp.where(inside, block.astype(array.dtype), before), at)


def read_block(cache: LevelCache, *, row: Array, position: Array, length: int) -> tuple[Array, Array]:
    """Returns the block that `write_block` has written there, of `length` T."""
    start, zero = 0, jnp.int32(0)
    keys, values = jnp.zeros((), cache["k"][0].dtype), jnp.zeros((), cache["v"][0].dtype)
    for k, v in zip(cache["k"], cache["v"], strict=True):
        num_kv_heads, head_dim, size = k.shape[1:]
        slot = position - start
        inside = (slot >= 0) & (slot < size)
        slot = jnp.where(inside, slot, 0)
        found = jax.lax.dynamic_slice(k, (row, zero, zero, slot), (1, num_kv_heads, head_dim, length))
        keys = jnp.where(inside, found, keys)
        found = jax.lax.dynamic_slice(v, (row, zero, slot, zero), (1, num_kv_heads, length, head_dim))
        values = jnp.where(inside, found, values)
        start += size
    return keys, values


def attend(
    query: Float[Array, "B T N H"], cache: LevelCache, *, positions: Int[Array, "B T"], place: Place
) -> Float[Array, "B T N H"]:
    """Returns softmax(query key / sqrt(H)) value over the slots up to each query's position, its own included."""
    num_rows, length, num_heads, head_dim = query.shape
    num_kv_heads = cache["k"][0].shape[1]
    grouped = query.swapaxes(1, 2).reshape(num_rows, num_kv_heads, -1, head_dim)
    places = jnp.broadcast_to(positions[:, None, None, :], (num_rows, 1, num_heads // num_kv_heads, length))
    places = places.reshape(num_rows, 1, -1)
    carry = (
        jnp.full((*grouped.shape[:3], 1), _MASKED, jnp.float32),
        jnp.zeros((*grouped.shape[:3], 1), jnp.float32),
        jnp.zeros(grouped.shape, jnp.float32),
    )
    start = 0
    for k, v in zip(cache["k"], cache["v"], strict=True):

        def see(carry: tuple, *, k: Array = k, v: Array = v, start: int = start) -> tuple:
            if place.row is not None:
                k, v = (jax.lax.dynamic_slice_in_dim(array, place.row, 1) for array in (k, v))
            return _see(carry, grouped, (k, v), slots_seen=places - start)

        carry = jax.lax.cond(place.num_used > start, see, lambda carry: carry, carry) if start else see(carry)
        start += k.shape[3]
    _, total, summed = carry
    attended = (summed / total).astype(query.dtype)
    return attended.reshape(num_rows, num_heads, length, head_dim).swapaxes(1, 2)


def _see(carry: tuple, grouped: Array, level: tuple[Array, Array], *, slots_seen: Array) -> tuple:
    """Returns (greatest score, sum of weights, sum of weighted values) with one level more in them.

    `slots_seen` int32 [B, 1, G]: the last slot of the level that each query sees, below 0 for none.
    """
    highest, total, summed = carry
    key, value = level
    scores = jnp.einsum("BKGH,BKHS->BKGS", grouped, key.astype(grouped.dtype), preferred_element_type=jnp.float32)
    mask = jnp.arange(key.shape[3]) <= slots_seen[..., None]
    scores = jnp.where(mask, scores * (1.0 / math.sqrt(grouped.shape[-1])), _MASKED)
    new_highest = jnp.maximum(highest, scores.max(axis=-1, keepdims=True))
    weights = jnp.where(mask, jnp.exp(scores - new_highest), 0.0)
    scale = jnp.exp(highest - new_highest)
    products = jnp.einsum(
        "BKGS,BKSH->BKGH",
        weights.astype(grouped.dtype),
        value.astype(grouped.dtype),
        preferred_element_type=jnp.float32,
    )
    return new_highest, total * scale + weights.sum(axis=-1, keepdims=True), summed * scale + products
