"""Which groups of records stand in which row: dealt out like cards, and the last ones where they fit best.

A row has three budgets: tokens, picture slots, targets. Groups are dealt from the largest to the smallest, in each
round the largest to the emptiest row: so every row gets large and small groups, and with them about as many pictures.
Those that do not fit where they are dealt, and
the last ones, about two for each row, go one by one where they leave the least room. What fits nowhere is left.
Whole numbers alone decide, so the result is the same everywhere.
"""

import bisect
import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]


class Budgets(NamedTuple):
    """What a row has room for: tokens, pictures and tokens that the loss counts."""

    tokens: int
    images: int
    targets: int


# CHOICE: of 0, 1, 2 and 4 groups a row that are placed one by one, two leave the rows of M3IT's shape fullest.
_PLACED_LAST = 2
_ROW_BITS = 24  # of a number that holds a row's free tokens above its own number


def pack(costs: IntArray, budgets: Budgets, *, num_rows: int) -> tuple[IntArray, IntArray]:
    """Returns the row of each group, int64 [groups], -1 for what fits nowhere, and what is free, int64 [rows, 3].

    Args:
      costs: Tokens, pictures and targets of each group, int64 [groups, 3], each within the budget.
      budgets: Of a row.
      num_rows: Rows that there are.
    """
    free = np.tile(np.array(budgets, np.int64), (num_rows, 1))
    placed = np.empty(len(costs), np.int64)
    # By the scarcest of what a group takes, in millionths: a short one with many pictures is large as well.
    size = (costs * 1_000_000 // np.maximum(budgets, 1)).max(axis=1)
    order = np.lexsort((-costs[:, 0], -size, costs[:, 1] <= 1))
    # Groups with several pictures have a round of their own, so that their rows get large groups for their few slots.
    several = int((costs[:, 1] > 1).sum()) if (costs[:, 1] <= 1).any() else 0
    num_rounds = max((len(costs) - several) // num_rows - _PLACED_LAST, 0)
    mean = int(costs[:, 0].sum()) // max(len(costs), 1)
    starts = [*range(0, several, num_rows), *range(several, several + num_rounds * num_rows + 1, num_rows)]
    ordered, row_of = costs[order], np.full(len(costs), -1, np.int64)
    for number, (first, last) in enumerate(itertools.pairwise(starts)):
        # A row with fewer slots than there are rounds will get fewer groups: it counts as emptier by those.
        rounds = len(starts) - 1 - number + _PLACED_LAST
        groups = np.minimum(free[:, 1], rounds) if budgets.images else 0
        fullness = groups * mean - free[:, 0]
        fullness[free[:, 1] < ordered[last - 1, 1]] = budgets.tokens * (rounds + 1)  # no group of the round fits here
        emptiest = np.argsort(fullness, kind="stable")[: last - first]
        left = free[emptiest] - ordered[first:last]
        fits = left.min(axis=1) >= 0
        row_of[first:last] = np.where(fits, emptiest, -1)
        free[emptiest] = np.where(fits[:, None], left, free[emptiest])
    placed[order] = row_of
    fill(placed, costs, free, groups=order[placed[order] < 0])
    return placed, free


def fill(placed: IntArray, costs: IntArray, free: IntArray, *, groups: IntArray) -> None:
    """Gives rows to some groups one by one, each to the row with the fewest tokens free of those that have room.

    Args:
      placed: Row of each group; changed.
      costs: Of each group, int64 [groups, 3].
      free: Of each row, int64 [rows, 3]; changed.
      groups: That choose, in this order; those that find no row stay as they are.
    """
    if not len(groups):
        return
    least_tokens, least_images, least_targets = costs[groups].min(axis=0).tolist()
    _, slots, targets = free.T.tolist()
    rows = [tokens << _ROW_BITS | row for row, tokens in enumerate(free[:, 0].tolist())]
    rows = sorted(one for one in rows if one >> _ROW_BITS >= least_tokens)
    for group, (needed, shown, counted) in zip(groups.tolist(), costs[groups].tolist(), strict=True):
        for place in range(bisect.bisect_left(rows, needed << _ROW_BITS), len(rows)):
            row = rows[place] & (1 << _ROW_BITS) - 1
            if slots[row] >= shown and targets[row] >= counted:
                left = rows.pop(place) - (needed << _ROW_BITS)
                slots[row], targets[row] = slots[row] - shown, targets[row] - counted
                if left >> _ROW_BITS >= least_tokens and slots[row] >= least_images and targets[row] >= least_targets:
                    bisect.insort(rows, left)
                placed[group] = row
                break
    found = groups[placed[groups] >= 0]
    np.subtract.at(free, placed[found], costs[found])


def split(costs: Sequence[tuple[int, int]], *, shared: int, budgets: Budgets) -> list[int]:
    """Returns the part of each record of a group that is too large for one row; each part repeats what is shared.

    Args:
      costs: (tokens of its own, targets) of each record, each within the budgets with what is shared.
      shared: Tokens that each part has once.
      budgets: Of a row.
    """
    parts: list[int] = []
    part, tokens, targets = 0, shared, 0
    for own, counted in costs:
        if tokens > shared and (tokens + own > budgets.tokens or targets + counted > budgets.targets):
            part, tokens, targets = part + 1, shared, 0
        parts.append(part)
        tokens, targets = tokens + own, targets + counted
    return parts
