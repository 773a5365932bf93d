import jax.numpy as jnp
import numpy as np

from m3it_jax.generation import kv_cache
from m3it_jax.models import variants

CONFIG = variants.VARIANTS["tiny"].decoder


def filled():
    cache = kv_cache.make(CONFIG, num_rows=2, num_slots=4, dtype=jnp.float32)
    k = jnp.arange(cache["k"].size, dtype=jnp.float32).reshape(cache["k"].shape)
    segments = jnp.array([[1, 1, 1, 0], [1, 0, 0, 0]])
    return {**cache, "k": k, "segment_ids": segments, "lengths": jnp.array([3, 1])}


def test_an_empty_cache_attends_to_nothing():
    cache = kv_cache.make(CONFIG, num_rows=3, num_slots=5, dtype=jnp.bfloat16)
    assert cache["k"].shape == cache["v"].shape == (2, 3, 5, 2, 16)
    assert cache["k"].dtype == jnp.bfloat16
    assert not cache["segment_ids"].any() and not cache["lengths"].any()


def test_truncate_forgets_what_lies_behind_and_never_lengthens_a_row():
    cache = kv_cache.truncate(filled(), jnp.array([2, 2]))
    np.testing.assert_array_equal(cache["segment_ids"], [[1, 1, 0, 0], [1, 0, 0, 0]])
    np.testing.assert_array_equal(cache["lengths"], [2, 1])


def test_grow_adds_empty_slots_at_the_end():
    cache = kv_cache.grow(filled(), 6)
    assert cache["k"].shape[2] == 6
    np.testing.assert_array_equal(cache["k"][:, :, :4], filled()["k"])
    np.testing.assert_array_equal(cache["segment_ids"], [[1, 1, 1, 0, 0, 0], [1, 0, 0, 0, 0, 0]])


def test_take_rows_takes_every_array_along_its_rows():
    cache = kv_cache.take_rows(filled(), jnp.array([1, 1, 0]))
    np.testing.assert_array_equal(cache["k"][:, 0], filled()["k"][:, 1])
    np.testing.assert_array_equal(cache["k"][:, 2], filled()["k"][:, 0])
    np.testing.assert_array_equal(cache["lengths"], [1, 1, 3])
