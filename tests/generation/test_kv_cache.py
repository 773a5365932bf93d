import jax.numpy as jnp
import numpy as np
import pytest

from m3it_jax.generation import kv_cache
from m3it_jax.models import variants

CONFIG = variants.VARIANTS["tiny"].decoder


def filled():
    """Returns two rows of 3 and 1 tokens: the second has a gap before the token that it made with the first."""
    cache = kv_cache.make(CONFIG, num_rows=2, num_slots=5, dtype=jnp.float32)
    v = jnp.arange(cache["layers"][0]["v"].size, dtype=jnp.float32).reshape(cache["layers"][0]["v"].shape)
    layers = [{"k": v.swapaxes(2, 3) + number, "v": v} for number in range(CONFIG.num_layers)]
    segments = jnp.array([[1, 1, 1, 1, 0], [1, 0, 0, 1, 0]])
    positions = jnp.array([[0, 1, 2, 3, 0], [0, 0, 0, 1, 0]])
    index = {"positions": positions, "segment_ids": segments, "lengths": jnp.array([4, 2]), "next_slot": jnp.int32(4)}
    return {"layers": layers, **index}


def test_an_empty_cache_attends_to_nothing():
    cache = kv_cache.make(CONFIG, num_rows=3, num_slots=5, dtype=jnp.bfloat16)
    assert len(cache["layers"]) == 2
    for layer in cache["layers"]:
        assert layer["k"].shape == (3, 2, 16, 5) and layer["v"].shape == (3, 2, 5, 16)
        assert layer["k"].dtype == jnp.bfloat16
    assert not cache["segment_ids"].any() and not cache["lengths"].any() and not cache["next_slot"]


@pytest.mark.parametrize(
    ("lengths", "segments", "kept", "next_slot"),
    [
        ([3, 2], [[1, 1, 1, 0, 0], [1, 0, 0, 1, 0]], [3, 2], 4),
        ([2, 1], [[1, 1, 0, 0, 0], [1, 0, 0, 0, 0]], [2, 1], 2),
        ([9, 9], [[1, 1, 1, 1, 0], [1, 0, 0, 1, 0]], [4, 2], 4),
        ([0, 0], [[0] * 5, [0] * 5], [0, 0], 0),
    ],
)
def test_truncate_forgets_later_positions_and_never_lengthens_a_row(lengths, segments, kept, next_slot):
    cache = kv_cache.truncate(filled(), jnp.array(lengths))
    np.testing.assert_array_equal(cache["segment_ids"], segments)
    np.testing.assert_array_equal(cache["lengths"], kept)
    assert int(cache["next_slot"]) == next_slot


def test_grow_adds_empty_slots_at_the_end():
    cache = kv_cache.grow(filled(), 7)
    for layer, before in zip(cache["layers"], filled()["layers"], strict=True):
        assert layer["k"].shape[3] == layer["v"].shape[2] == 7
        np.testing.assert_array_equal(layer["k"][..., :5], before["k"])
        np.testing.assert_array_equal(layer["v"][:, :, :5], before["v"])
    np.testing.assert_array_equal(cache["segment_ids"], [[1, 1, 1, 1, 0, 0, 0], [1, 0, 0, 1, 0, 0, 0]])


def test_take_rows_takes_every_array_along_its_rows():
    cache = kv_cache.take_rows(filled(), jnp.array([1, 1, 0]))
    for layer, before in zip(cache["layers"], filled()["layers"], strict=True):
        np.testing.assert_array_equal(layer["k"][0], before["k"][1])
        np.testing.assert_array_equal(layer["v"][2], before["v"][0])
    np.testing.assert_array_equal(cache["lengths"], [2, 2, 4])
    assert int(cache["next_slot"]) == 4
