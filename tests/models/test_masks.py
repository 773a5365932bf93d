"""The mask rule, against its drawn example."""

import jax.numpy as jnp
import numpy as np

from m3it_jax.models import masks


def test_mask_is_the_drawn_example() -> None:
    segments, positions = jnp.asarray([[1, 1, 1, 2, 2, 0]]), jnp.asarray([[0, 1, 2, 0, 1, 0]])
    drawn = """
        x.....
        xx....
        xxx...
        ...x..
        ...xx.
        ......
    """
    wanted = np.array([[char == "x" for char in line] for line in drawn.split()])
    mask = masks.segment_causal_mask(segments, positions, key_segments=segments, key_positions=positions)
    np.testing.assert_array_equal(mask[0, 0], wanted)


def test_records_see_what_they_share_and_themselves() -> None:
    segments, positions = jnp.asarray([[1, 1, 2, 2, 3, 3, 0]]), jnp.asarray([[0, 1, 2, 3, 2, 3, 0]])
    parents = jnp.asarray([[1, 1, 1, 1, 1, 1, 0]])
    drawn = """
        x......
        xx.....
        xxx....
        xxxx...
        xx..x..
        xx..xx.
        .......
    """
    wanted = np.array([[char == "x" for char in line] for line in drawn.split()])
    mask = masks.segment_causal_mask(
        segments, positions, key_segments=segments, key_positions=positions, query_parents=parents
    )
    np.testing.assert_array_equal(mask[0, 0], wanted)


def test_an_empty_slot_is_never_attended_to() -> None:
    ones, slots = jnp.ones((1, 2), jnp.int32), jnp.asarray([[1, 0, 1, 0]])
    mask = masks.segment_causal_mask(ones, ones * 9, key_segments=slots, key_positions=jnp.zeros((1, 4), jnp.int32))
    np.testing.assert_array_equal(mask[0, 0], [[True, False, True, False]] * 2)


def test_real_keys_are_those_of_a_segment_before_and_after_the_query() -> None:
    mask = masks.real_mask(jnp.asarray([[1, 1, 0], [2, 0, 0]]))
    np.testing.assert_array_equal(mask, [[[[True, True, False]]], [[[True, False, False]]]])
