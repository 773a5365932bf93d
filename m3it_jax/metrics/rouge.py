"""ROUGE-L, the metric of the paper (arXiv 2306.04387, section 4), over tokens of any script."""

from collections.abc import Sequence

import numpy as np

from m3it_jax.metrics import checking, sums, tokens


def rouge_l(
    targets: Sequence[Sequence[str]],
    predictions: Sequence[str],
    *,
    beta: float = 1.0,
    tokenize: tokens.Tokenizer = tokens.words,
) -> dict[str, float]:
    """Returns `{"rougeL": mean F score, 0..100}`.

    With L the length of the longest common subsequence of tokens, P = L / prediction tokens and R = L / target tokens,
    the score of a pair is (1 + beta^2) P R / (R + beta^2 P), or 0 if they share no token. Of several targets the best
    counts. On English text this is `rougeL.fmeasure` of Google's `rouge_score` without stemming, times 100.

    Args:
      targets: All right answers of each prediction.
      predictions: One text each.
      beta: Weight of recall against precision. 1, the plain F1, as `rouge_score` has it; caption toolkits use 1.2.
      tokenize: What a word is. The default keeps every script; `tokens.latin_words` is what `rouge_score` does.

    Raises:
      ScoringError: see `checking.texts`.
    """
    return sums.mean("rougeL", rows(targets, predictions, beta=beta, tokenize=tokenize))


def rouge_l_latin(targets: Sequence[Sequence[str]], predictions: Sequence[str]) -> dict[str, float]:
    """Returns `{"rougeL_latin": mean F1, 0..100}` with the tokenizer of `rouge_score`, which keeps a-z and 0-9 alone.

    Equal to `rougeL.fmeasure` of `rouge_score` times 100 on any text. A Chinese answer has no token there and scores 0:
    the value is for comparison with figures that others made so.

    Raises:
      ScoringError: see `checking.texts`.
    """
    return sums.mean("rougeL_latin", rows(targets, predictions, tokenize=tokens.latin_words))


def rows(
    targets: Sequence[Sequence[str]],
    predictions: Sequence[str],
    *,
    beta: float = 1.0,
    tokenize: tokens.Tokenizer = tokens.words,
) -> sums.Floats:
    """Returns float64 [rows], the score of each prediction, 0..100; see `rouge_l`."""
    checking.texts(targets, predictions)
    scores = []
    for answers, prediction in zip(targets, predictions, strict=True):
        predicted = tokenize(prediction)
        scores.append(100.0 * max(_f_score(tokenize(answer), predicted, beta) for answer in answers))
    return np.array(scores)


def latin_rows(targets: Sequence[Sequence[str]], predictions: Sequence[str]) -> sums.Floats:
    """Returns float64 [rows], the score of each prediction by the tokens of `rouge_score`, 0..100."""
    return rows(targets, predictions, tokenize=tokens.latin_words)


def _f_score(target: list[str], predicted: list[str], beta: float) -> float:
    common = common_length(target, predicted)
    if not common:
        return 0.0
    precision, recall = common / len(predicted), common / len(target)
    return (1 + beta**2) * precision * recall / (recall + beta**2 * precision)


def common_length(left: Sequence[str], right: Sequence[str]) -> int:
    """Returns the length of the longest common subsequence.

    Bit-parallel (Hyyrö, "Bit-parallel LCS-length computation revisited", 2004): a whole column of the usual table is
    one integer, so a pair takes len(right) integer operations. After each token, bit i of `column` is 0 where the
    longest common subsequence grows between left[:i] and left[:i + 1].
    """
    places: dict[str, int] = {}
    for index, token in enumerate(left):
        places[token] = places.get(token, 0) | 1 << index
    every = (1 << len(left)) - 1
    column = every
    for token in right:
        matched = column & places.get(token, 0)
        column = ((column + matched) | (column - matched)) & every
    return len(left) - column.bit_count()
