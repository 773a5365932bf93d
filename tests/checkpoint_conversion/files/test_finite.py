import jax.numpy as jnp
import numpy as np
import pytest

from m3it_jax.checkpoint_conversion.files import finite


@pytest.mark.parametrize("dtype", [np.float16, jnp.bfloat16, np.float32, np.float64])
@pytest.mark.parametrize("value", [np.nan, -np.nan, np.inf, -np.inf])
def test_one_number_that_is_none_is_found(dtype, value):
    array = np.array([[1.0, -2.0, 0.0], [-0.0, 6e4, -6e4]]).astype(dtype)
    assert finite.is_finite(array) and finite.first_not_finite(array) is None
    array[1, 0] = value
    assert not finite.is_finite(array) and finite.first_not_finite(array) == (1, 0)
    assert finite.first_not_finite(array.T) == (0, 1)


def test_the_largest_numbers_are_finite_and_whole_numbers_always_are():
    for dtype in (np.float16, np.float32):
        assert finite.is_finite(np.array([np.finfo(dtype).max, np.finfo(dtype).min], dtype))
    assert finite.is_finite(np.full(3, -1, np.int64)) and finite.is_finite(np.zeros(0, np.float32))
