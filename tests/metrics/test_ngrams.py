"""n-grams by sorting against n-grams by counting in dictionaries."""

import collections
import random

import numpy as np
import pytest

from m3it_jax.metrics import ngrams


def plain(lists: list[list[str]], order: int) -> list[collections.Counter]:
    return [
        collections.Counter(tuple(words[at : at + order]) for at in range(len(words) - order + 1)) for words in lists
    ]


@pytest.mark.parametrize("seed", range(6))
def test_counts_equal_those_of_dictionaries(seed: int) -> None:
    chance = random.Random(seed)
    lists = [chance.choices("abc", k=chance.randrange(9)) for _ in range(40)]
    rows = [[" ".join(words) for words in lists[at + 1 : at + 4]] for at in range(0, 40, 4)]
    predictions = [" ".join(lists[at]) for at in range(0, 40, 4)]
    texts = ngrams.of_words(rows, predictions, str.split)
    if seed == 5:  # numbers so large that code and place do not fit into one integer
        texts = ngrams.Texts(texts.tokens << 50, texts.lengths, texts.rows, texts.is_prediction, 1 << 53)
    assert texts.is_prediction.tolist() == [True, False, False, False] * 10
    for order, grams in enumerate(ngrams.counted(texts, 4), start=1):
        wanted = plain(lists, order)
        everywhere = sum(wanted, collections.Counter())
        found = [collections.Counter(grams.count[grams.text == text].tolist()) for text in range(len(lists))]
        for text, counts in enumerate(wanted):
            missing = collections.Counter(counts.values()) - found[text]
            assert missing == ({1: grams.unlisted[text]} if grams.unlisted[text] else {})
        assert len(set(grams.gram)) + sum(grams.unlisted) == len(everywhere)
        assert (texts.rows[grams.text] == texts.rows[grams.text[grams.leader]]).all()
        assert (grams.gram == grams.gram[grams.leader]).all() and (grams.leader <= np.arange(len(grams.gram))).all()


def test_characters_leave_white_space_out() -> None:
    texts = ngrams.of_characters([["a\tb"]], [" 蓝 😀 "])
    assert texts.lengths.tolist() == [2, 2]
    assert texts.tokens.tolist() == [ord("蓝"), ord("😀"), ord("a"), ord("b")]


def test_empty_texts_have_no_ngrams() -> None:
    for grams in ngrams.counted(ngrams.of_words([[""]], [""], str.split), 4):
        assert len(grams.gram) == 0 and grams.unlisted.tolist() == [0, 0]
