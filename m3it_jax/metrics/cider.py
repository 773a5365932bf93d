"""CIDEr (Vedantam et al., arXiv 1411.5726) as `pycocoevalcap` 1.2 computes it, which is the variant CIDEr-D."""

from collections.abc import Sequence

import numpy as np

from m3it_jax.metrics import checking, ngrams, sums, tokens

# pycocoevalcap 1.2, cider/cider.py and cider_scorer.py.
_ORDERS = 4
_SIGMA = 6.0
_SCALE = 10.0


def cider(
    targets: Sequence[Sequence[str]], predictions: Sequence[str], *, tokenize: tokens.Tokenizer = tokens.spaced
) -> dict[str, float]:
    """Returns `{"CIDEr": mean similarity, 0..10}`, in which papers print 1.0 as 100.

    How rare an n-gram is, is counted over the targets of all rows, so the value of a row depends on the rows beside
    it, and a single row always has 0.

    Args:
      targets: All right answers of each prediction; each of them counts alike.
      predictions: One text each.
      tokenize: What a word is. The default takes tokenized texts and equals `Cider().compute_score`; give
        `metrics.caption_words` for captions as people write them, `metrics.words` for other scripts.

    Raises:
      ScoringError: see `checking.texts`.
    """
    return sums.mean("CIDEr", rows(targets, predictions, tokenize=tokenize))


def rows(
    targets: Sequence[Sequence[str]], predictions: Sequence[str], *, tokenize: tokens.Tokenizer = tokens.spaced
) -> sums.Floats:
    """Returns float64 [rows], the value of each prediction among all of them; see `cider`."""
    checking.texts(targets, predictions)
    texts = ngrams.of_words(targets, predictions, tokenize)
    is_target, num_texts = ~texts.is_prediction, len(texts.lengths)
    owner = np.flatnonzero(texts.is_prediction)[texts.rows]  # [texts], the prediction of the row
    log_rows = np.log(float(texts.num_rows))
    similarity = np.zeros(num_texts)
    for grams in ngrams.counted(texts, _ORDERS):
        targeted = is_target[grams.text]
        # An n-gram counts once in a row: at the leader, or at the entry behind it where the prediction leads.
        previous = np.concatenate(([False], targeted[:-1]))
        places = np.arange(len(grams.gram))
        first = targeted & ((grams.leader == places) | ((grams.leader == places - 1) & ~previous))
        frequency = np.bincount(grams.gram[first], minlength=int(grams.gram[-1]) + 1 if len(grams.gram) else 0)
        weight = log_rows - np.log(np.maximum(frequency, 1.0))
        value = grams.count * weight[grams.gram]
        square = np.bincount(grams.text, value * value, minlength=num_texts)
        norm = np.sqrt(square + grams.unlisted * log_rows**2)  # what occurs once in all texts has the full weight
        shared = targeted & ~is_target[grams.text[grams.leader]]
        common = np.minimum(value[grams.leader], value)[shared] * value[shared]
        product = np.bincount(grams.text[shared], common, minlength=num_texts).astype(np.float64)  # int if it is empty
        similarity += sums.share(product, norm * norm[owner])
    # The reference takes the number of bigrams as length.
    bigrams = np.maximum(texts.lengths - 1, 0)
    similarity *= np.exp(-((bigrams - bigrams[owner]) ** 2.0) / (2 * _SIGMA**2))
    totals = np.bincount(texts.rows[is_target], similarity[is_target], minlength=texts.num_rows)
    counts = np.bincount(texts.rows[is_target], minlength=texts.num_rows)
    return _SCALE / _ORDERS * totals / counts
