"""Text -> tokens for scoring: of any script, and as published scorers cut English.

A tokenizer is a function from a text to its tokens; metrics that take one say which is their reference's own.
"""

import functools
import re
import unicodedata
from collections.abc import Callable, Sequence

from m3it_jax.metrics import checking

Tokenizer = Callable[[str], list[str]]

# First and last code point of scripts that are written without spaces: there each character is one token. Source of
# the list of scripts: the project's protocol (docs/evaluation.md); ranges: Unicode 16, Blocks.txt.
_UNSPACED = (
    (0x0E00, 0x0EFF),  # Thai, Lao
    (0x1000, 0x109F),  # Burmese
    (0x1780, 0x17FF),  # Khmer
    (0x3005, 0x3007),  # marks of repetition and the ideographic zero
    (0x3040, 0x30FF),  # Hiragana, Katakana
    (0x31F0, 0x31FF),  # Katakana extensions
    (0x3400, 0x4DBF),  # CJK extension A
    (0x4E00, 0x9FFF),  # CJK
    (0xA9E0, 0xA9FF),  # Burmese extended B
    (0xAA60, 0xAA7F),  # Burmese extended A
    (0xF900, 0xFAFF),  # CJK compatibility
    (0xFF66, 0xFF9D),  # half-width Katakana
    (0x20000, 0x3FFFF),  # CJK extensions B and later
)


# `rouge_score` 0.1.2, tokenize.py: what is none of these parts words.
_LATIN = re.compile(r"[a-z0-9]+")

# sacrebleu 2.6.0, tokenizer_re.py, which has them from mteval-v13a.pl.
_MTEVAL = (
    (re.compile(r"([\{-\~\[-\` -\&\(-\+\:-\@\/])"), r" \1 "),
    (re.compile(r"([^0-9])([\.,])"), r"\1 \2 "),  # period and comma, but for those after a digit
    (re.compile(r"([\.,])([^0-9])"), r" \1 \2"),  # and those before a digit
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)
_ENTITIES = (("&quot;", '"'), ("&amp;", "&"), ("&lt;", "<"), ("&gt;", ">"))


def words(text: str) -> list[str]:
    """Returns the lower-case tokens of `text`; punctuation and other symbols are dropped.

    A token is a run of letters, combining marks and digits, or one single character of a script that is written
    without spaces. A combining mark stays with the character before it. Plain English gives what the tokenizer of
    Google's `rouge_score` gives without stemming.
    """
    if text.isascii():
        return latin_words(text)
    tokens: list[str] = []
    in_word = False  # does a next letter belong to the last token?
    marks_count = False  # does a next combining mark belong to the last token?
    for character in unicodedata.normalize("NFC", text).lower():
        category = unicodedata.category(character)[0]
        if category == "M" and marks_count:
            tokens[-1] += character
        elif category not in "LN":
            in_word = marks_count = False
        else:
            single = _stands_alone(character)
            if in_word and not single:
                tokens[-1] += character
            else:
                tokens.append(character)
            in_word, marks_count = not single, True
    return tokens


def _stands_alone(character: str) -> bool:
    point = ord(character)
    return point >= _UNSPACED[0][0] and any(first <= point <= last for first, last in _UNSPACED)


def latin_words(text: str) -> list[str]:
    """Returns the lower-case runs of a-z and 0-9: the tokenizer of `rouge_score` 0.1.2 without stemming.

    Letters with accents part words and other scripts vanish, as they do there; `words` keeps both.
    """
    return _LATIN.findall(text.lower())


def spaced(text: str) -> list[str]:
    """Returns what stands between white space, unchanged: how `pycocoevalcap` reads tokenized texts."""
    return text.split()


@functools.lru_cache(maxsize=1 << 16)
def _mteval(text: str) -> tuple[str, ...]:
    line = text.rstrip().replace("<skipped>", "").replace("-\n", "").replace("\n", " ")
    for entity, character in _ENTITIES:
        line = line.replace(entity, character)
    line = f" {line} "
    for pattern, replacement in _MTEVAL:
        line = pattern.sub(replacement, line)
    return tuple(line.split())


def mteval_words(text: str) -> list[str]:
    """Returns the tokens of mteval-v13a, case kept: what sacreBLEU calls `13a` and takes by default."""
    return list(_mteval(text))


def check(targets: Sequence[Sequence[str]], predictions: Sequence[str]) -> None:
    """Checks that there is a list of targets for each prediction; see `checking.texts`, which does it."""
    checking.texts(targets, predictions)
