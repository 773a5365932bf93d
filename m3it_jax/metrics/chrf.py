"""chrF (Popović, 2015): character n-grams instead of words, as sacreBLEU computes it."""

from collections.abc import Sequence

import numpy as np

from m3it_jax.metrics import checking, ngrams, sums

# sacrebleu 2.6.0, metrics/chrf.py: chrF2, without words and without white space.
_ORDERS = 6
_BETA = 2.0

# Rows that are counted at once: enough to keep NumPy busy, few enough for the caches.
_CHUNK = 10_000


def chrf(targets: Sequence[Sequence[str]], predictions: Sequence[str]) -> dict[str, float]:
    """Returns `{"chrf": 0..100}` over all rows together, equal to `CHRF().corpus_score` of sacreBLEU.

    Of several targets each row counts with the one that it agrees with best.

    Raises:
      ScoringError: see `checking.texts`.
    """
    return {name: float(value) for name, value in values(rows(targets, predictions).sum(0)).items()}


def rows(targets: Sequence[Sequence[str]], predictions: Sequence[str]) -> sums.Floats:
    """Returns float64 [rows, 18]: for n = 1 to 6 the n-grams of the prediction, of its best target, and in both."""
    checking.texts(targets, predictions)
    starts = range(0, len(predictions), _CHUNK)
    return np.concatenate([_chunk(targets[at : at + _CHUNK], predictions[at : at + _CHUNK]) for at in starts])


def values(found: sums.Floats) -> dict[str, sums.Floats]:
    """Returns {"chrf": float64 [...]} for sums of rows, float64 [..., 18]."""
    return {"chrf": _f_score(found)}


def _chunk(targets: Sequence[Sequence[str]], predictions: Sequence[str]) -> sums.Floats:
    texts = ngrams.of_characters(targets, predictions)
    is_target, num_texts = ~texts.is_prediction, len(texts.lengths)
    own_length = texts.lengths[texts.is_prediction][texts.rows]
    counts = np.zeros((num_texts, 3 * _ORDERS))  # [text of a target, column]
    for place, grams in enumerate(ngrams.counted(texts, _ORDERS)):
        present = np.maximum(texts.lengths - place, 0)
        # An n-gram of the prediction does not count against it where the target is too short to have any.
        counts[:, 3 * place] = np.where(present > 0, np.maximum(own_length - place, 0), 0)
        counts[:, 3 * place + 1] = present
        shared = is_target[grams.text] & ~is_target[grams.text[grams.leader]]
        both = np.minimum(grams.count[grams.leader], grams.count)[shared]
        counts[:, 3 * place + 2] = np.bincount(grams.text[shared], both, minlength=num_texts)
    score = np.where(is_target, _f_score(counts), -1.0)
    best = np.lexsort((-score, texts.rows))  # stable: of equal targets the first
    return counts[best[np.flatnonzero(np.diff(texts.rows[best], prepend=-1))]]


def _f_score(counts: sums.Floats) -> sums.Floats:
    predicted, wanted, both = counts[..., 0::3], counts[..., 1::3], counts[..., 2::3]
    orders = ((predicted > 0) & (wanted > 0)).sum(-1).astype(np.float64)
    counted = (predicted > 0) & (wanted > 0)
    precision = sums.share(np.where(counted, sums.share(both, predicted), 0.0).sum(-1), orders)
    recall = sums.share(np.where(counted, sums.share(both, wanted), 0.0).sum(-1), orders)
    factor = _BETA**2
    return 100.0 * sums.share((1 + factor) * precision * recall, factor * precision + recall)
