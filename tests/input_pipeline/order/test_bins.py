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
@given(seed=st.integers(0, 10**6), count=st.integers(1, 200), num_rows=st.integers(1, 150))
def test_rows_stay_within_their_budgets_and_what_is_left_fits_nowhere(seed, count, num_rows):
    costs = drawn_costs(seed, count)
    rows, free = bins.pack(costs, BUDGETS, num_rows=num_rows)
    used = np.zeros((num_rows, 3), np.int64)
    np.add.at(used, rows[rows >= 0], costs[rows >= 0])
    np.testing.assert_array_equal(free, np.array(BUDGETS) - used)
    assert rows.min() >= -1 and rows.max() < num_rows and free.min() >= 0
    for group in np.flatnonzero(rows < 0):
        assert not (free >= costs[group]).all(axis=1).any()
    np.testing.assert_array_equal(bins.pack(costs, BUDGETS, num_rows=num_rows)[0], rows)


def test_rows_are_full_and_have_as_many_pictures():
    """Groups as questions about COCO pictures make them: one picture, one to five texts; a few show five pictures."""
    rng = np.random.default_rng(0)
    texts = rng.integers(1, 6, 1200)
    tokens = 34 + texts * 40 + rng.integers(-20, 20, 1200)
    costs = np.stack([tokens, np.where(np.arange(1200) < 20, 5, 1), tokens // 5], axis=1)
    budgets = bins.Budgets(2048, 16, 600)
    rows, _ = bins.pack(costs, budgets, num_rows=-(-tokens.sum() * 1000 // (2048 * 990)))
    assert rows.min() == 0
    pictures = np.bincount(rows, weights=costs[:, 1])
    assert np.median(pictures) / pictures.max() > 0.8


def test_late_groups_go_where_they_leave_the_least_room():
    placed, free = np.array([0, -1, -1, -1]), np.array([[50, 4, 9], [30, 4, 9], [30, 0, 9], [90, 4, 1]])
    bins.fill(placed, np.array([[50, 1, 1], [28, 1, 2], [60, 0, 5], [2, 1, 1]]), free, groups=np.array([1, 2, 3]))
    assert placed.tolist() == [0, 1, -1, 1]  # no row is tight with slots left; none has 60 tokens and 5 targets
    assert free.tolist() == [[50, 4, 9], [0, 2, 6], [30, 0, 9], [90, 4, 1]]


def test_nothing_to_pack_and_what_fills_a_row_alone():
    assert bins.pack(np.zeros((0, 3), np.int64), BUDGETS, num_rows=2)[0].tolist() == []
    assert sorted(bins.pack(np.array([[100, 4, 60]] * 3), BUDGETS, num_rows=3)[0].tolist()) == [0, 1, 2]
    no_pictures = bins.Budgets(100, 0, 10)
    assert bins.pack(np.array([[1, 0, 0]] * 90), no_pictures, num_rows=1)[0].tolist() == [0] * 90


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
