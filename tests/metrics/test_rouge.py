"""ROUGE-L: the stated sanity cases, the reference scorer's numbers, and the subsequence length by another method."""

import functools
import random

import pytest

from m3it_jax import metrics
from m3it_jax.metrics import rouge

# (target, prediction, rougeL.fmeasure) as printed by rouge_score 0.1.2, RougeScorer(["rougeL"]), no stemming.
GOLDEN = [
    ("the couch in the living room is green", "the couch is green", 0.6666666666666666),
    ("A man rides a brown horse on the beach.", "a man is riding a horse along the beach", 0.6666666666666666),
    ("It is 3.5 km north-west of Bern", "3 5 km from bern", 0.5714285714285714),
    ("police killed the gunman", "the gunman killed police", 0.5),
    ("The answer's (B) blue_green", "answer s b blue green!", 0.9090909090909091),
]


@pytest.mark.parametrize(
    ("target", "prediction", "score"),
    [
        ("the couch in the living room is green", "the couch is green", 200 / 3),
        ("a red circle", "a red circle", 100.0),
        ("a red circle", "two blue squares", 0.0),
        ("一个蓝色的圆形", "一个红色的圆形", 600 / 7),
        ("(G) 麻婆豆腐", "(G) 宫保鸡丁", 20.0),
        ("anything", "", 0.0),
        ("...", "...", 0.0),
    ],
)
def test_sanity_cases(target: str, prediction: str, score: float) -> None:
    assert metrics.rouge_l([[target]], [prediction]) == {"rougeL": pytest.approx(score)}


@pytest.mark.parametrize(("target", "prediction", "score"), GOLDEN)
def test_agrees_with_rouge_score(target: str, prediction: str, score: float) -> None:
    assert metrics.rouge_l([[target]], [prediction])["rougeL"] == pytest.approx(100 * score, abs=1e-9)


def test_the_best_target_counts_and_rows_are_averaged() -> None:
    targets = [["no match", "a cat"], ["a dog"]]
    assert metrics.rouge_l(targets, ["a cat", "nothing"]) == {"rougeL": pytest.approx(50.0)}


def test_beta_weighs_recall() -> None:
    # P = 1, R = 1/2: F with beta 1.2 is (1 + 1.44) / 2 / (0.5 + 1.44).
    value = metrics.rouge_l([["a b"]], ["a"], beta=1.2)["rougeL"]
    assert value == pytest.approx(100 * 2.44 * 0.5 / 1.94)


def test_common_length_equals_the_plain_recursion() -> None:
    def plain(left: tuple[str, ...], right: tuple[str, ...]) -> int:
        @functools.cache
        def length(i: int, j: int) -> int:
            if not i or not j:
                return 0
            if left[i - 1] == right[j - 1]:
                return length(i - 1, j - 1) + 1
            return max(length(i - 1, j), length(i, j - 1))

        return length(len(left), len(right))

    chance = random.Random(0)
    for _ in range(300):
        left = tuple(chance.choices("abcd", k=chance.randrange(0, 40)))
        right = tuple(chance.choices("abcd", k=chance.randrange(0, 40)))
        assert rouge.common_length(left, right) == plain(left, right)
