"""ROUGE-L, the metric of the paper (arXiv 2306.04387, section 4), over tokens of any script."""

from collections.abc import Sequence

from m3it_jax.metrics import tokens


def rouge_l(targets: Sequence[Sequence[str]], predictions: Sequence[str], *, beta: float = 1.0) -> dict[str, float]:
    """Returns `{"rougeL": mean F score, 0..100}`.

    With L the length of the longest common subsequence of tokens, P = L / prediction tokens and R = L / target tokens,
    the score of a pair is (1 + beta^2) P R / (R + beta^2 P), or 0 if they share no token. Of several targets the best
    counts. On English text this is `rougeL.fmeasure` of Google's `rouge_score` without stemming, times 100.

    Args:
      targets: All right answers of each prediction.
      predictions: One text each.
      beta: Weight of recall against precision. 1, the plain F1, as `rouge_score` has it; caption toolkits use 1.2.

    Raises:
      ValueError: counts differ, or a list is empty.
    """
    tokens.check(targets, predictions)
    total = 0.0
    for answers, prediction in zip(targets, predictions, strict=True):
        predicted = tokens.words(prediction)
        total += max(_f_score(tokens.words(answer), predicted, beta) for answer in answers)
    return {"rougeL": 100.0 * total / len(predictions)}


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
