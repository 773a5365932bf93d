"""Tokens of several scripts, and what the check refuses."""

import pytest

from m3it_jax.metrics import tokens


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("The couch, is GREEN!", ["the", "couch", "is", "green"]),
        ("a_b don't 3.5", ["a", "b", "don", "t", "3", "5"]),
        ("一个蓝色的圆形。", list("一个蓝色的圆形")),
        ("(G) 麻婆豆腐 tofu2", ["g", *"麻婆豆腐", "tofu2"]),
        ("straße où ÉTÉ", ["straße", "où", "été"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("서울 한국어", ["서울", "한국어"]),
        ("ひらがな", ["ひ", "ら", "が", "な"]),
        ("e\u0301te", ["éte"]),
        ("...", []),
        ("\u0301 a", ["a"]),
    ],
)
def test_words(text: str, wanted: list[str]) -> None:
    assert tokens.words(text) == wanted


def test_a_mark_stays_with_a_single_character() -> None:
    # Thai "น้ำ": consonant, tone mark, vowel letter. The mark is no token of its own.
    assert tokens.words("น้ำ")[0] == "น้"


@pytest.mark.parametrize(
    ("targets", "predictions", "message"),
    [
        ([["a"]], [], "must be as many"),
        ([], [], "no prediction"),
        ([[]], ["a"], r"targets\[0\] is empty"),
        (["a"], ["a"], "is one text"),
    ],
)
def test_check_refuses(targets: list[list[str]], predictions: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tokens.check(targets, predictions)
