import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from m3it_jax.input_pipeline.order import bins

BUDGETS = bins.Budgets(100, 4, 60)


def drawn_costs(seed: int, count: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(1, 101, count), rng.integers(0, 5, count), rng.integers(0, 61, count)], axis=1)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 200))
def test_every_group_stands_in_one_row_within_its_budgets(seed, count):
    costs = drawn_costs(seed, count)
    rows = bins.pack(costs, BUDGETS)
    assert rows.shape == (count,)
    assert np.unique(rows).tolist() == list(range(rows.max() + 1))
    for place, budget in enumerate(BUDGETS):
        assert np.bincount(rows, weights=costs[:, place]).max() <= budget
    np.testing.assert_array_equal(bins.pack(costs, BUDGETS), rows)


def test_rows_are_full_and_have_as_many_pictures():
    """Groups as questions about COCO pictures make them: one picture, one to five texts."""
    rng = np.random.default_rng(0)
    texts = rng.integers(1, 6, 4000)
    tokens = 34 + texts * 40 + rng.integers(-20, 20, 4000)
    costs = np.stack([tokens, np.ones(4000, int), tokens // 5], axis=1)
    rows = bins.pack(costs, bins.Budgets(2048, 14, 600))
    used = np.bincount(rows, weights=costs[:, 0])
    pictures = np.bincount(rows)
    assert used.mean() / 2048 > 0.97
    assert np.median(pictures) / pictures.max() > 0.9


def test_nothing_to_pack_and_what_fills_a_row_alone():
    assert bins.pack(np.zeros((0, 3), np.int64), BUDGETS).tolist() == []
    assert sorted(bins.pack(np.array([[100, 4, 60]] * 3), BUDGETS).tolist()) == [0, 1, 2]
    assert bins.pack(np.array([[1, 0, 0]] * 90), bins.Budgets(100, 0, 10)).max() == 0  # no pictures at all


@pytest.mark.parametrize(
    ("costs", "parts"),
    [
        ([(30, 5), (30, 5), (30, 5)], [0, 0, 1]),  # 30 shared and three times 30 are above 100
        ([(70, 5), (70, 5)], [0, 1]),
        ([(10, 40), (10, 40), (10, 20)], [0, 1, 1]),  # above 60 targets
        ([(10, 5)], [0]),
    ],
)
def test_a_group_too_large_for_a_row_is_split_and_repeats_what_is_shared(costs, parts):
    assert bins.split(costs, shared=30, budgets=BUDGETS) == parts
