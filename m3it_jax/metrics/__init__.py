"""Scores of predictions against reference answers: pure functions that know nothing of models.

Each takes `(targets, predictions)`, where `targets[i]` holds every right answer to prediction `i`, and returns
`{name: value}`. Each value is a mean over predictions, so sums over rows may be added up and divided at the end.
"""

from m3it_jax.metrics.accuracy import exact_match, multiple_choice
from m3it_jax.metrics.rouge import rouge_l

__all__ = ["exact_match", "multiple_choice", "rouge_l"]
