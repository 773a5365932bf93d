"""Captions cut as COCO's scorer cuts them."""

import json
import pathlib

import pytest

from m3it_jax import metrics
from m3it_jax.metrics import treebank

GOLDEN = pathlib.Path(__file__).parents[1] / "golden" / "metrics" / "caption_words.json"


def test_equals_the_published_tokenizer() -> None:
    found = json.loads(GOLDEN.read_text(encoding="utf-8"))
    pairs = list(zip(found["captions"], found["rows"], strict=True))
    assert len(pairs) >= 200
    assert [line for line, words in pairs if treebank.caption_words(line) != words] == []


@pytest.mark.parametrize(
    ("caption", "words"),
    [
        ("A woman's red t-shirt doesn't fit.", ["a", "woman", "'s", "red", "t-shirt", "does", "n't", "fit"]),
        ("He said no. He can not go", ["he", "said", "no", "he", "can", "not", "go"]),
        (
            "(left)",
            ["-lrb-", "left", "-rrb-"],
        ),  # lower case keeps brackets from being dropped, in the published one too
        ("", []),
        (" . ", []),
    ],
)
def test_caption_words(caption: str, words: list[str]) -> None:
    assert treebank.caption_words(caption) == words


def test_captions_as_people_write_them_are_scored_as_if_tokenized() -> None:
    raw = [["A man rides a horse."], ["Two dogs play."]], ["a man rides a horse", "two dogs play!"]
    cut = [["a man rides a horse"], ["two dogs play"]], ["a man rides a horse", "two dogs play"]
    assert metrics.cider(*raw, tokenize=treebank.caption_words) == metrics.cider(*cut)
    assert metrics.cider(*raw) != metrics.cider(*cut)
