import numpy as np

from m3it_jax.input_pipeline.order import bins, grouping

BUDGETS = bins.Budgets(100, 4, 60)


def grouped(costs, keys, budgets=BUDGETS):
    order, begins, sums = grouping.groups(np.array(costs), np.array(keys, np.uint64), budgets)
    found = np.split(order, np.flatnonzero(begins)[1:])
    return {tuple(group.tolist()): tuple(total) for group, total in zip(found, sums.tolist(), strict=True)}


def test_records_of_one_key_share_what_is_shared_and_the_others_stand_alone():
    costs = [[30, 1, 5, 20], [28, 1, 3, 20], [40, 0, 9, 0], [26, 1, 2, 20], [50, 0, 1, 0]]
    found = grouped(costs, [7, 9, 0, 7, 0])
    assert found == {(0, 3): (36, 1, 7), (1,): (28, 1, 3), (2,): (40, 0, 9), (4,): (50, 0, 1)}


def test_a_group_too_large_for_a_row_begins_anew_and_pays_again_for_what_is_shared():
    found = grouped([[60, 1, 1, 30]] * 5, [3] * 5)
    assert found == {(0, 1): (90, 1, 2), (2, 3): (90, 1, 2), (4,): (60, 1, 1)}


def test_small_keys_and_large_ones_are_kept_apart():
    keys = np.random.default_rng(0).integers(1, 2**63, 500).astype(np.uint64) * np.uint64(2) + np.uint64(1)
    keys[::7] = np.arange(len(keys[::7])) + 1
    keys = np.tile(keys, 2)
    found = grouped(np.tile([10, 1, 1, 4], (1_000, 1)), keys)
    assert sorted(found) == [(number, number + 500) for number in range(500)]
