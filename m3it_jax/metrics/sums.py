"""Metrics as sums and counts: what each row adds, and the value that a sum of rows gives.

Rows of several hosts, of a subset or of a bootstrap resample are added up first and turned into a value afterwards, so
a metric that is no mean over rows, such as BLEU, is right there too.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]


@dataclasses.dataclass(frozen=True)
class Metric:
    """A metric as two functions.

    Attributes:
      rows: (targets, predictions) -> float64 [rows, K], what each row adds. CIDEr looks at all targets at once, to
        count how rare words are: give it all rows of a task and pick among the result.
      values: Sums of rows, float64 [..., K] -> {name: float64 [...]}.
      is_mean: The value is the mean of the first of K numbers over the rows; the second is the count 1.
      top: The greatest value that there can be.
    """

    rows: Callable[[Sequence[Any], Sequence[Any]], Floats]
    values: Callable[[Floats], Mapping[str, Floats]]
    is_mean: bool = False
    top: float = 100.0

    def __call__(self, targets: Sequence[Any], predictions: Sequence[Any]) -> dict[str, float]:
        """Returns {name: value} over all rows."""
        return {name: float(value) for name, value in self.values(self.rows(targets, predictions).sum(0)).items()}


def mean(name: str, rows: Floats) -> dict[str, float]:
    """Returns `{name: mean of the rows}`."""
    return {name: float(rows.sum()) / len(rows)}


def mean_of(name: str, rows: Callable[[Sequence[Any], Sequence[Any]], Floats], *, top: float = 100.0) -> Metric:
    """Returns the metric that is the mean of what `rows` gives, float64 [rows]; K is 2: the value and the count 1."""

    def with_counts(targets: Sequence[Any], predictions: Sequence[Any]) -> Floats:
        found = rows(targets, predictions)
        return np.stack((found, np.ones_like(found)), axis=-1)

    return Metric(with_counts, lambda sums: {name: sums[..., 0] / sums[..., 1]}, is_mean=True, top=top)


def share(part: Floats, whole: Floats) -> Floats:
    """Returns part / whole, and 0 where `whole` is 0."""
    return np.divide(part, whole, out=np.zeros(np.broadcast(part, whole).shape), where=whole != 0)
