import collections

import numpy as np
import pytest

from m3it_jax import rng
from m3it_jax.dataset_building.steps import hashed

TEXTS = [str(number) for number in np.random.default_rng(0).zipf(1.3, 800).clip(max=300).tolist()]


@pytest.mark.parametrize("at_once", [1, 7, 1 << 13])
def test_what_stood_there_before_is_known(monkeypatch, at_once):
    monkeypatch.setattr(hashed, "_RECENT", at_once)
    seen, wanted = hashed.Seen(), set()
    for text in TEXTS:
        assert seen.add(text) == (text in wanted)
        wanted.add(text)


@pytest.mark.parametrize("at_once", [1, 100, 1 << 16])
def test_a_tally_counts_as_a_counter_does(monkeypatch, tmp_path, at_once):
    monkeypatch.setattr(hashed, "_COUNTED_AT_ONCE", at_once)
    tally, wanted = hashed.Tally(tmp_path), collections.Counter()
    assert tally.counts() == (0, 0)
    for number, text in enumerate(TEXTS):
        tally.add(text)
        wanted[text] += 1
        if number % 300 == 0:
            assert tally.counts() == (len(wanted), max(wanted.values()))
    assert tally.counts() == (len(wanted), max(wanted.values()))
    assert list(tmp_path.iterdir()) == [], "its file has no name, so a build that dies leaves none"


def test_hashes_at_the_borders_of_the_parts_are_found_again(monkeypatch):
    borders = [0, 1, (1 << 57) - 1, 1 << 57, (1 << 63) - 1]
    monkeypatch.setattr(rng, "fold", lambda seed, text: borders[int(text)])
    monkeypatch.setattr(hashed, "_RECENT", 2)
    monkeypatch.setattr(hashed, "_COUNTED_AT_ONCE", 2)
    seen, tally = hashed.Seen(), hashed.Tally()
    for wanted in (False, True):
        assert [seen.add(str(number)) for number in range(5)] == [wanted] * 5
        for number in range(5):
            tally.add(str(number))
        assert tally.counts() == (5, 1 + wanted)


def test_each_takes_eight_bytes_and_what_is_recent_is_little():
    seen = hashed.Seen()
    for number in range(40_000):
        seen.add(str(number))
    assert len(seen._recent) <= hashed._RECENT and sum(part.nbytes for part in seen._sorted) <= 8 * 40_000
