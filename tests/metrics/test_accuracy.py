"""Exact match and multiple choice: what counts as right and what does not."""

import pytest

from m3it_jax import metrics


@pytest.mark.parametrize(
    ("answers", "prediction", "right"),
    [
        (["blue"], " blue\n", True),
        (["a blue circle"], "a  blue circle", True),
        (["red", "blue"], "blue", True),
        (["blue"], "Blue", False),
        (["blue"], "blue circle", False),
        (["blue"], "", False),
        (["蓝色"], "蓝色", True),
    ],
)
def test_exact_match(answers: list[str], prediction: str, right: bool) -> None:
    assert metrics.exact_match([answers], [prediction]) == {"exact_match": 100.0 * right}


@pytest.mark.parametrize(
    ("prediction", "right"),
    [
        ("(B) blue", True),
        ("(b)", True),
        ("B", True),
        ("B.", True),
        ("B: blue", True),
        ("（B）蓝色", True),
        ("(B) red", True),  # the letter decides
        ("blue", True),
        ("Blue", True),
        ("The answer is (B).", True),
        ("(A) blue", False),
        ("(A) or (B)", False),
        ("(K) none of them", False),
        ("B flat", False),  # no option mark: a word that happens to be one letter
        ("red", False),
        ("", False),
    ],
)
def test_multiple_choice(prediction: str, right: bool) -> None:
    assert metrics.multiple_choice([["(B) blue"]], [prediction]) == {"multiple_choice": 100.0 * right}


def test_multiple_choice_without_letters_compares_the_text() -> None:
    assert metrics.multiple_choice([["food"], ["food"]], ["Food", "flags"]) == {"multiple_choice": 50.0}


@pytest.mark.parametrize(
    ("answer", "prediction", "right"),
    [
        ("the dog", "A Dog!", True),
        ("一只猫", "一只猫。", True),  # marks of every script
        ("«chat»", "chat", True),
        ("x^2", "x2", True),  # ASCII marks that Unicode counts as symbols
        ("theatre", "atre", False),  # an article is a whole word
        ("blue", "blue circle", False),
        ("", "the", True),
    ],
)
def test_exact_match_normalised(answer: str, prediction: str, right: bool) -> None:
    assert metrics.exact_match_normalised([[answer]], [prediction]) == {"exact_match_normalised": 100.0 * right}
