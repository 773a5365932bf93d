"""Which groups of records stand in which row: dealt out like cards, and the last ones where they fit best.

A row has three budgets: tokens, picture slots, targets. The number of rows is what the sums need. Groups are dealt from
the longest to the shortest, in each round the longest to the emptiest row: so every row gets long and short groups, and
with them about as many pictures. The last groups, about two for each row, go one by one where they leave the least
room; a row is opened where there is none. Whole numbers alone decide, so the result is the same everywhere.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]

# CHOICE: of 0, 1, 2 and 4 groups a row that are placed one by one, two leave the rows of M3IT's shape fullest.
_PLACED_LAST = 2
# CHOICE: rows that are looked at before one is opened. More find little: those passed over lack slots or targets.
_TRIES = 24
# CHOICE: how full rows are meant to be; above it more rows are opened at the end than the last percent saves.
_FULL = 0.995


class Budgets(NamedTuple):
    """What a row has room for: tokens, pictures and tokens that the loss counts."""

    tokens: int
    images: int
    targets: int


def pack(costs: IntArray, budgets: Budgets) -> IntArray:
    """Returns the row of each group, int64 [groups], from 0 on without gaps.

    Args:
      costs: Tokens, pictures and targets of each group, int64 [groups, 3], each within the budget.
      budgets: Of a row.
    """
    if not len(costs):
        return np.zeros(0, np.int64)
    needed = costs.sum(axis=0) / (np.maximum(budgets, 1) * np.array([_FULL, 1.0, 1.0]))
    num_rows = int(np.ceil(needed.max()))
    order = np.lexsort((-costs[:, 1], -costs[:, 0]))
    num_dealt = max(len(costs) - _PLACED_LAST * num_rows, 0) // num_rows * num_rows
    free = np.tile(np.array(budgets, np.int64), (num_rows, 1))
    placed = np.full(len(costs), -1, np.int64)
    for first in range(0, num_dealt, num_rows):
        dealt, emptiest = order[first : first + num_rows], np.argsort(-free[:, 0], kind="stable")
        fits = (free[emptiest] >= costs[dealt]).all(axis=1)
        placed[dealt[fits]] = emptiest[fits]
        free[emptiest[fits]] -= costs[dealt[fits]]
    rows = _Rows(free, budgets, least=int(costs[:, 0].min()))
    for group in order[placed[order] < 0].tolist():
        placed[group] = rows.place(*costs[group].tolist())
    return np.unique(placed, return_inverse=True)[1].astype(np.int64)


class _Rows:
    """Rows by what is free: for each number of slots, which amounts of tokens occur and in which rows.

    The amounts are the bits of a whole number, so the tightest row is found by a shift.
    """

    def __init__(self, free: IntArray, budgets: Budgets, *, least: int) -> None:
        self._budgets, self._least = budgets, least
        self._free_targets: list[int] = []
        self._amounts = [0] * (budgets.images + 1)
        self._with: list[dict[int, list[int]]] = [{} for _ in self._amounts]
        for row, (tokens, images, targets) in enumerate(free.tolist()):
            self._free_targets.append(targets)
            self._offer(row, tokens, images)

    def _offer(self, row: int, tokens: int, images: int) -> None:
        if tokens >= self._least:
            self._amounts[images] |= 1 << tokens
            self._with[images].setdefault(tokens, []).append(row)

    def place(self, tokens: int, images: int, targets: int) -> int:
        """Returns the row that takes the group, and takes it out of that row's budgets."""
        row, free, slots = self._find(tokens, images, targets)
        if row < 0:
            row, free, slots = len(self._free_targets), self._budgets.tokens, self._budgets.images
            self._free_targets.append(self._budgets.targets)
        self._free_targets[row] -= targets
        self._offer(row, free - tokens, slots - images)
        return row

    def _find(self, tokens: int, images: int, targets: int) -> tuple[int, int, int]:
        """Returns (row, its free tokens, its free slots) of the tightest row with room, taken out; row -1: none.

        After some rows that lack targets, the emptiest one is asked; else each further group would open its own.
        """
        least, tries = tokens, _TRIES
        while tries > 0:
            free, slots = self._tightest(least, images)
            if free < 0:
                return -1, 0, 0
            waiting = self._with[slots][free]
            for place in range(len(waiting) - 1, max(len(waiting) - 1 - tries, -1), -1):
                tries -= 1
                if self._free_targets[waiting[place]] >= targets:
                    return self._take(place, free, slots), free, slots
            least = free + 1
        free, slots = max(
            (amounts.bit_length() - 1, slots) for slots, amounts in enumerate(self._amounts[images:], images)
        )
        if free >= tokens and self._free_targets[self._with[slots][free][-1]] >= targets:
            return self._take(-1, free, slots), free, slots
        return -1, 0, 0

    def _take(self, place: int, free: int, slots: int) -> int:
        waiting = self._with[slots][free]
        row = waiting.pop(place)
        if not waiting:
            self._amounts[slots] ^= 1 << free
            del self._with[slots][free]
        return row

    def _tightest(self, tokens: int, images: int) -> tuple[int, int]:
        """Returns (free tokens, free slots) of the row with the fewest free tokens that still takes so much, or -1."""
        best, slots = -1, 0
        for number in range(images, len(self._amounts)):
            left = self._amounts[number] >> tokens
            if left:
                free = tokens + (left & -left).bit_length() - 1
                if best < 0 or free < best:
                    best, slots = free, number
        return best, slots


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
