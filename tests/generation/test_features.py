import numpy as np
import tiny_assistant

from m3it_jax.generation import pictures
from m3it_jax.generation.features import FeatureStore


def shown(*seeds):
    return pictures.read([tiny_assistant.png(seed) for seed in seeds])


def test_the_table_holds_each_picture_in_its_place_and_zeros_after():
    store = FeatureStore(*tiny_assistant.tiny())
    table = store.table(shown(1, 2, 3, 4, 5), 8)
    alone = FeatureStore(*tiny_assistant.tiny()).table(shown(4), 1)
    np.testing.assert_allclose(table[3], alone[0], atol=2e-4)  # another batch size sums in another order
    assert np.abs(table[3] - table[2]).max() > 1e-3
    assert not table[5:].any()


def test_a_picture_is_encoded_once_while_it_is_remembered():
    store = FeatureStore(*tiny_assistant.tiny())
    store.table(shown(1, 2), 2)
    store.table(shown(2, 3, 1), 4)
    assert store.num_encoded == 3


def test_the_least_recently_used_is_forgotten_first():
    size = 4 * 32 * 4  # queries x width x float32
    store = FeatureStore(*tiny_assistant.tiny(), max_bytes=2 * size)
    store.table(shown(1, 2), 2)
    store.table(shown(1), 1)
    store.table(shown(3), 1)  # forgets 2
    store.table(shown(1), 1)
    assert store.num_encoded == 3
    store.table(shown(2), 1)
    assert store.num_encoded == 4


def test_bytes_and_normalised_arrays_stand_side_by_side():
    store = FeatureStore(*tiny_assistant.tiny())
    array = (np.asarray(tiny_assistant.picture(1)).astype(np.float32) / 255 - 0.5) / 0.5
    [encoded, normalised] = store.table([*shown(1), *pictures.read([array.transpose(2, 0, 1)])], 2)
    np.testing.assert_allclose(encoded, normalised, atol=1e-4)
