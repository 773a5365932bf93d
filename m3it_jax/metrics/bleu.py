"""BLEU (Papineni et al., 2002) over a corpus, as its two common scorers print it."""

from collections.abc import Sequence

import numpy as np

from m3it_jax.metrics import checking, ngrams, sums, tokens

_ORDERS = 4

# Columns of a tokenizer's part of a row: tokens of the prediction, tokens of the closest target, right n-grams and all
# n-grams of the prediction for n = 1 to 4.
_WIDTH = 2 + 2 * _ORDERS

# pycocoevalcap 1.2, bleu_scorer.py.
_SMALL, _TINY = 1e-9, 1e-15

_LOG_OF_ZERO = -9999999999.0  # sacrebleu 2.6.0, metrics/helpers.py


def bleu(
    targets: Sequence[Sequence[str]], predictions: Sequence[str], *, tokenize: tokens.Tokenizer | None = None
) -> dict[str, float]:
    """Returns `{"bleu": 0..100, "Bleu_1": 0..1, ..., "Bleu_4": 0..1}` over all rows together.

    `bleu` is the score of sacreBLEU: tokens of mteval-v13a, up to 4-grams, exponential smoothing. `Bleu_1` to `Bleu_4`
    are those of `pycocoevalcap`, which takes tokenized texts and does not smooth. Both take the target whose length is
    closest, the shorter of two.

    Args:
      targets: All right answers of each prediction.
      predictions: One text each.
      tokenize: What a word is, for all five values: `metrics.caption_words` for captions as people write them,
        `metrics.words` for scripts without spaces. By default each scorer's own.

    Raises:
      ScoringError: see `checking.texts`.
    """
    found = rows(targets, predictions, tokenize=tokenize).sum(0)
    return {name: float(value) for name, value in values(found).items()}


def rows(
    targets: Sequence[Sequence[str]], predictions: Sequence[str], *, tokenize: tokens.Tokenizer | None = None
) -> sums.Floats:
    """Returns float64 [rows, 20], the counts of each row with sacreBLEU's tokens and with pycocoevalcap's."""
    checking.texts(targets, predictions)
    parts = [_counts(targets, predictions, tokenize or own) for own in (tokens.mteval_words, tokens.spaced)]
    return np.concatenate(parts, axis=1)


def values(found: sums.Floats) -> dict[str, sums.Floats]:
    """Returns {name: float64 [...]} for sums of rows, float64 [..., 20]."""
    return {"bleu": _smoothed(found[..., :_WIDTH]), **_caption_scores(found[..., _WIDTH:])}


def _counts(targets: Sequence[Sequence[str]], predictions: Sequence[str], tokenize: tokens.Tokenizer) -> sums.Floats:
    texts = ngrams.of_words(targets, predictions, tokenize)
    is_prediction, lengths = texts.is_prediction, texts.lengths
    counts = np.zeros((texts.num_rows, _WIDTH))
    counts[:, 0] = lengths[is_prediction]
    # The closest length, the shorter of two: the least (distance, length) of the row.
    distance = np.abs(lengths - lengths[is_prediction][texts.rows])
    order = np.lexsort((lengths, distance, is_prediction, texts.rows))
    counts[:, 1] = lengths[order[np.flatnonzero(np.diff(texts.rows[order], prepend=-1))]]
    for place, grams in enumerate(ngrams.counted(texts, _ORDERS)):
        counts[:, 2 + _ORDERS + place] = np.maximum(counts[:, 0] - place, 0)
        if not len(grams.gram):
            continue
        of_prediction = is_prediction[grams.text]
        leaders = np.flatnonzero(grams.leader == np.arange(len(grams.gram)))
        allowed = np.maximum.reduceat(np.where(of_prediction, 0, grams.count), leaders)
        led = of_prediction[leaders]  # n-grams that the prediction of their row has
        right = np.minimum(grams.count[leaders], allowed)[led]
        counts[:, 2 + place] = np.bincount(texts.rows[grams.text[leaders]][led], right, minlength=texts.num_rows)
    return counts


def _smoothed(counts: sums.Floats) -> sums.Floats:
    """Returns the score of sacrebleu 2.6.0, `BLEU.compute_bleu` with smooth_method="exp"."""
    length, wanted = counts[..., 0], counts[..., 1]
    right, every = counts[..., 2 : 2 + _ORDERS], counts[..., 2 + _ORDERS :]
    smooth, logs = np.ones_like(length), np.zeros_like(length)
    for order in range(_ORDERS):
        smooth = np.where((right[..., order] == 0) & (every[..., order] > 0), 2 * smooth, smooth)
        numerator = np.where(right[..., order] == 0, 1 / smooth, right[..., order])
        precision = 100.0 * sums.share(numerator, every[..., order])
        logs += np.where(precision > 0, np.log(np.where(precision > 0, precision, 1.0)), _LOG_OF_ZERO)
    penalty = np.where(length < wanted, np.exp(1 - sums.share(wanted, length)), 1.0)
    scores = penalty * np.exp(logs / _ORDERS)
    return np.where(right.any(-1) & (length > 0), scores, 0.0)


def _caption_scores(counts: sums.Floats) -> dict[str, sums.Floats]:
    """Returns the scores of pycocoevalcap 1.2, `BleuScorer.compute_score` with option="closest"."""
    ratio = (counts[..., 0] + _TINY) / (counts[..., 1] + _SMALL)
    penalty = np.where(ratio < 1, np.exp(1 - 1 / np.minimum(ratio, 1.0)), 1.0)
    product = np.ones_like(ratio)
    scores = {}
    for order in range(_ORDERS):
        product = product * (counts[..., 2 + order] + _TINY) / (counts[..., 2 + _ORDERS + order] + _SMALL)
        scores[f"Bleu_{order + 1}"] = product ** (1 / (order + 1)) * penalty
    return scores
