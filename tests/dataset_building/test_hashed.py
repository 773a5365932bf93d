import collections

import numpy as np
import pytest

from m3it_jax import rng
from m3it_jax.dataset_building import hashed


@pytest.mark.parametrize("at_once", [1, 7, 1 << 13])
def test_it_counts_as_a_counter_does(monkeypatch, at_once):
    monkeypatch.setattr(hashed, "_RECENT", at_once)
    counts, wanted = hashed.Counts(), collections.Counter()
    for number in np.random.default_rng(0).zipf(1.3, 800).clip(max=500).tolist():
        wanted[str(number)] += 1
        assert counts.add(str(number)) == wanted[str(number)]
    assert len(counts) == len(wanted) and counts.most() == max(wanted.values())


def test_nothing_was_added():
    assert len(hashed.Counts()) == 0 and hashed.Counts().most() == 0


def test_hashes_at_the_borders_of_the_parts_are_found_again(monkeypatch):
    borders = [0, 1, (1 << 57) - 1, 1 << 57, (1 << 63) - 1]
    monkeypatch.setattr(rng, "fold", lambda seed, text: borders[int(text)])
    counts = hashed.Counts()
    for wanted in (1, 2):
        assert [counts.add(str(number)) for number in range(5)] == [wanted] * 5
        assert len(counts) == 5


def test_a_million_take_twelve_bytes_each():
    counts = hashed.Counts()
    for number in range(40_000):
        counts.add(str(number))
    held = sum(part.nbytes for part in (*counts._keys, *counts._counts))
    assert len(counts._recent) <= hashed._RECENT and held <= 12 * 40_000
