import jax
import jax.numpy as jnp
import numpy as np

from m3it_jax.generation import slot_cache
from m3it_jax.models import variants

CONFIG = variants.VARIANTS["tiny"].decoder


def test_levels_have_room_and_whole_blocks():
    for num_slots in (1, 32, 100, 128, 129, 512, 513, 2048, 4096):
        sizes = slot_cache.levels(num_slots)
        assert sum(sizes) >= num_slots and sum(sizes) - num_slots < slot_cache.BLOCK
        start = 0
        for size in sizes:
            assert size % slot_cache.BLOCK == 0 and start % slot_cache.BLOCK == 0
            start += size
    assert slot_cache.levels(512) == (128, 128, 256)


def test_a_saved_block_is_copied_into_another_row():
    dtype = jnp.dtype("float32")
    cache = slot_cache.make(CONFIG, num_rows=3, num_slots=256, dtype=dtype)
    cache = jax.tree.map(lambda leaf: jax.random.normal(jax.random.key(leaf.size), leaf.shape), cache)
    pool = slot_cache.make_pool(CONFIG, num_blocks=4, dtype=dtype)
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(pool)) == 4 * slot_cache.block_bytes(CONFIG, dtype)
    number, position = jnp.int32(2), jnp.int32(160)
    pool = slot_cache.save(cache, pool, row=jnp.int32(0), position=position, block=number)
    copied = slot_cache.copy(cache, pool, row=jnp.int32(1), position=position, block=number)
    for before, after in zip(cache, copied, strict=True):
        np.testing.assert_array_equal(after["k"][1][1, :, :, 32:64], before["k"][1][0, :, :, 32:64])
        np.testing.assert_array_equal(after["v"][1][1, :, 32:64], before["v"][1][0, :, 32:64])
        np.testing.assert_array_equal(after["k"][0], before["k"][0])
    lost = slot_cache.save(cache, pool, row=jnp.int32(0), position=jnp.int32(0), block=jnp.int32(4))
    jax.tree.map(np.testing.assert_array_equal, lost, pool)


def test_a_cleared_row_is_zeros_and_the_others_stay():
    cache = jax.tree.map(jnp.ones_like, slot_cache.make(CONFIG, num_rows=2, num_slots=64, dtype=jnp.dtype("float32")))
    for leaf in jax.tree.leaves(slot_cache.clear(cache, jnp.int32(1))):
        assert not leaf[1].any() and leaf[0].all()
