"""ANLS (Biten et al., arXiv 1905.13648): how alike in letters an answer about a document is, 0 below a half."""

from collections.abc import Sequence

import numpy as np

from m3it_jax.metrics import checking, sums

_THRESHOLD = 0.5  # arXiv 1905.13648, section 4.2


def anls(targets: Sequence[Sequence[str]], predictions: Sequence[str]) -> dict[str, float]:
    """Returns `{"anls": mean similarity, 0..1}`.

    The similarity of a pair is 1 - edits / characters of the longer text, and 0 if that is below 0.5. Case and runs of
    white space do not count. Of several targets the best counts.

    Raises:
      ScoringError: see `checking.texts`.
    """
    return sums.mean("anls", rows(targets, predictions))


def rows(targets: Sequence[Sequence[str]], predictions: Sequence[str]) -> sums.Floats:
    """Returns float64 [rows], the similarity of each prediction, 0..1."""
    from rapidfuzz.distance import Levenshtein  # not above: `import m3it_jax.metrics` loads NumPy alone

    checking.texts(targets, predictions)
    found = []
    for answers, prediction in zip(targets, predictions, strict=True):
        predicted = _tidy(prediction)
        similarity = 0.0
        for answer in answers:
            # The published scorers compare tidied texts and divide by the length of the untidied ones.
            longest = max(len(answer.upper()), len(prediction.upper()))
            edits = Levenshtein.distance(_tidy(answer), predicted)
            similarity = max(similarity, 1.0 - edits / longest if longest else 1.0)
        found.append(similarity if similarity >= _THRESHOLD else 0.0)
    return np.array(found)


def _tidy(text: str) -> str:
    return " ".join(text.lower().split())
