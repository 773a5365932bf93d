import jax
import jax.numpy as jnp
import numpy as np

from m3it_jax.models import layers, masks, slots

SIZES = (8, 8, 16)
B, K, N, H = 3, 2, 4, 8


def _cache(seed: int = 0) -> slots.LevelCache:
    key = jax.random.key(seed)
    return {
        "k": [jax.random.normal(jax.random.fold_in(key, size), (B, K, H, size)) for size in SIZES],
        "v": [jax.random.normal(jax.random.fold_in(key, 100 + size), (B, K, size, H)) for size in SIZES],
    }


def _whole(cache: slots.LevelCache) -> tuple[jax.Array, jax.Array]:
    return jnp.concatenate(cache["k"], axis=3), jnp.concatenate(cache["v"], axis=2)


def _step(cache: slots.LevelCache, positions: list[int], seed: int = 9):
    query, key, value = (
        jax.random.normal(jax.random.key(seed + number), (B, 1, heads, H)) for number, heads in enumerate((N, K, K))
    )
    at = jnp.array(positions, jnp.int32)[:, None]
    place = slots.Place(None, at.max() + 1)
    cache = slots.write(cache, key, value, positions=at, place=place)
    return slots.attend(query, cache, positions=at, place=place), cache, (query, key, value)


def test_a_step_is_attention_over_each_rows_own_slots():
    positions = [3, 8, 17]
    attended, cache, (query, key, value) = _step(_cache(), positions)
    keys, values = _whole(cache)
    for row, position in enumerate(positions):
        np.testing.assert_array_equal(keys[row, :, :, position], key[row, 0])
        np.testing.assert_array_equal(values[row, :, position], value[row, 0])
    at = jnp.array(positions, jnp.int32)[:, None]
    places = jnp.broadcast_to(jnp.arange(sum(SIZES), dtype=jnp.int32), (B, sum(SIZES)))
    mask = masks.segment_causal_mask(jnp.ones_like(at), at, key_segments=jnp.ones_like(places), key_positions=places)
    wanted = layers.attend_cached(query, keys, values, mask=mask)
    np.testing.assert_allclose(attended, wanted, atol=1e-6)


def test_a_row_is_the_same_bits_whatever_stands_in_the_others():
    run = jax.jit(lambda cache, positions: _step(cache, positions)[0])
    alone = run(_cache(), [3, 0, 0])
    beside = run(jax.tree.map(lambda leaf: leaf.at[1:].mul(-3.0), _cache()), [3, 12, 31])
    np.testing.assert_array_equal(alone[0], beside[0])


def test_a_row_outside_all_levels_writes_nothing():
    before = _whole(_cache())
    _, cache, _ = _step(_cache(), [3, sum(SIZES), 17])
    for old, new in zip(before, _whole(cache), strict=True):
        np.testing.assert_array_equal(old[1], new[1])


def test_a_block_goes_to_its_row_and_comes_back():
    keys, values = (jax.random.normal(jax.random.key(n), shape) for n, shape in ((1, (1, K, H, 4)), (2, (1, K, 4, H))))
    for position in (0, 4, 8, 12, 16, 28):
        at = jnp.int32(position)
        cache = slots.write_block(_cache(), keys, values, row=jnp.int32(1), position=at)
        found = slots.read_block(cache, row=jnp.int32(1), position=at, length=4)
        np.testing.assert_array_equal(found[0], keys)
        np.testing.assert_array_equal(found[1], values)
        k, _ = _whole(cache)
        k = k.at[1, :, :, position : position + 4].set(_whole(_cache())[0][1, :, :, position : position + 4])
        np.testing.assert_array_equal(k, _whole(_cache())[0])  # nothing else has changed


def test_a_block_sees_its_row_up_to_each_token():
    query, key, value = (
        jax.random.normal(jax.random.key(n), (1, 4, heads, H)) for n, heads in ((3, N), (4, K), (5, K))
    )
    positions = jnp.arange(8, 12, dtype=jnp.int32)[None]
    place = slots.Place(jnp.int32(2), jnp.int32(12))
    cache = slots.write(_cache(), key, value, positions=positions, place=place)
    attended = slots.attend(query, cache, positions=positions, place=place)
    keys, values = _whole(cache)
    mask = (jnp.arange(sum(SIZES)) <= positions[:, :, None])[:, None]
    wanted = layers.attend_cached(query, keys[2:3], values[2:3], mask=mask)
    np.testing.assert_allclose(attended, wanted, atol=1e-6)
