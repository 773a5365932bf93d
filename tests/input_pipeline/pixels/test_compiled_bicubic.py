import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from m3it_jax.input_pipeline.pixels import bicubic

compiled_bicubic = pytest.importorskip("m3it_jax.input_pipeline.pixels.compiled_bicubic", exc_type=ImportError)

SIDES = st.integers(1, 300)


@settings(max_examples=150, deadline=None)
@given(height=SIDES, width=SIDES, rows=SIDES, columns=SIDES, seed=st.integers(0, 9))
def test_the_middle_is_that_of_pillows_whole(height, width, rows, columns, seed):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    side = min(rows, columns)
    made = np.empty((side, side, 3), np.uint8)
    compiled_bicubic.resize(pixels, (rows, columns), made)
    whole = np.asarray(Image.fromarray(pixels).resize((columns, rows), Image.Resampling.BICUBIC))
    top, left = (rows - side) // 2, (columns - side) // 2
    np.testing.assert_array_equal(made, whole[top : top + side, left : left + side])


@pytest.mark.parametrize("shape", [(1_500, 13), (1_500, 15), (16_434, 60), (401, 4), (13, 1_500)])
@pytest.mark.parametrize("size", [(33, 33), (60, 20), (20, 60)])
def test_strips_are_resampled_in_the_order_of_pillow(shape, size):
    pixels = np.random.default_rng(1).integers(0, 256, (*shape, 3), np.uint8)
    side = min(size)
    made = np.empty((side, side, 3), np.uint8)
    compiled_bicubic.resize(pixels, size, made)
    whole = np.asarray(Image.fromarray(pixels).resize(size[::-1], Image.Resampling.BICUBIC))
    top, left = ((each - side) // 2 for each in size)
    np.testing.assert_array_equal(made, whole[top : top + side, left : left + side])


def test_extremes_are_cut_off_and_not_wrapped_round():
    pixels = np.zeros((40, 40, 3), np.uint8)
    pixels[::7] = 255  # overshoots on both sides of each line
    made = np.empty((95, 95, 3), np.uint8)
    compiled_bicubic.resize(pixels, (95, 95), made)
    np.testing.assert_array_equal(made, np.asarray(Image.fromarray(pixels).resize((95, 95), Image.Resampling.BICUBIC)))


def test_strips_are_resized_where_they_are_read_alone():
    pixels = np.random.default_rng(0).integers(0, 256, (1, 20_000, 3), np.uint8)
    made = np.empty((336, 336, 3), np.uint8)
    compiled_bicubic.resize(pixels, (336, 336 * 20_000), made)
    np.testing.assert_array_equal(made, bicubic.middle(pixels, (336, 336 * 20_000), side=336))
