"""Share of right answers: the same text, or the same option of a lettered list."""

import functools
import re
import string
import unicodedata
from collections.abc import Sequence

import numpy as np

from m3it_jax.metrics import checking, sums

# SQuAD 1.1, evaluate-v1.1.py; MLQA counts every punctuation mark of Unicode and so does this.
_ARTICLES = re.compile(r"\b(a|an|the)\b")

# "(B)" anywhere; a bare letter alone, or at the start before ")", "." or ":". A bare "A " before a word is an article,
# not an option, and does not count.
_BRACKETED = re.compile(r"\(([A-Za-z])\)")
_LEADING = re.compile(r"([A-Za-z])(?:[).:](?:\s|$)|$)")


def exact_match(targets: Sequence[Sequence[str]], predictions: Sequence[str]) -> dict[str, float]:
    """Returns `{"exact_match": share of predictions equal to one of their targets, 0..100}`.

    White space around a text does not count, and a run of it inside counts as one space; all else does: case,
    punctuation, articles.

    Raises:
      ScoringError: see `checking.texts`.
    """
    return sums.mean("exact_match", exact_rows(targets, predictions))


def exact_rows(targets: Sequence[Sequence[str]], predictions: Sequence[str]) -> sums.Floats:
    """Returns float64 [rows], 100 for a right prediction, else 0."""
    checking.texts(targets, predictions)
    pairs = zip(targets, predictions, strict=True)
    return np.array([100.0 * (_tidy(prediction) in map(_tidy, answers)) for answers, prediction in pairs])


def exact_match_normalised(targets: Sequence[Sequence[str]], predictions: Sequence[str]) -> dict[str, float]:
    """Returns `{"exact_match_normalised": share of predictions equal to a target after normalisation, 0..100}`.

    `normalised` says what is forgiven. On English text this is `exact_match` of SQuAD 1.1's evaluation script; marks of
    other scripts are dropped too, as in MLQA's.

    Raises:
      ScoringError: see `checking.texts`.
    """
    return sums.mean("exact_match_normalised", normalised_rows(targets, predictions))


def normalised_rows(targets: Sequence[Sequence[str]], predictions: Sequence[str]) -> sums.Floats:
    """Returns float64 [rows], 100 for a prediction that is right after normalisation, else 0."""
    checking.texts(targets, predictions)
    pairs = zip(targets, predictions, strict=True)
    return np.array([100.0 * (normalised(prediction) in map(normalised, answers)) for answers, prediction in pairs])


@functools.lru_cache(maxsize=1 << 16)
def normalised(text: str) -> str:
    """Returns a text in lower case without punctuation, English articles and needless white space."""
    kept = (character for character in text.lower() if not _is_punctuation(character))
    return _tidy(_ARTICLES.sub(" ", "".join(kept)))


def _is_punctuation(character: str) -> bool:
    return character in string.punctuation or unicodedata.category(character)[0] == "P"


def multiple_choice(targets: Sequence[Sequence[str]], predictions: Sequence[str]) -> dict[str, float]:
    """Returns `{"multiple_choice": share of predictions that name the right option, 0..100}`.

    Targets look like `(B) blue`. The letter decides if the prediction has one: `(B)`, `B.` and `(B) red` are right.
    Without a letter the option's text decides: `blue` is right. A prediction that names two different letters in
    brackets chooses none and is wrong. Case does not count.

    Raises:
      ScoringError: see `checking.texts`.
    """
    return sums.mean("multiple_choice", choice_rows(targets, predictions))


def choice_rows(targets: Sequence[Sequence[str]], predictions: Sequence[str]) -> sums.Floats:
    """Returns float64 [rows], 100 for a right option, else 0."""
    checking.texts(targets, predictions)
    pairs = zip(targets, predictions, strict=True)
    return np.array(
        [100.0 * any(_same_option(answer, prediction) for answer in answers) for answers, prediction in pairs]
    )


def _same_option(answer: str, prediction: str) -> bool:
    wanted, wanted_text = _option(answer)
    letters, text = _option(prediction)
    if letters and wanted:
        return letters == wanted
    return text == wanted_text


def _option(text: str) -> tuple[frozenset[str], str]:
    """Returns the letters that the text names (none, one, or several) and what is left without them."""
    plain = _tidy(unicodedata.normalize("NFKC", text)).casefold()
    letters = frozenset(_BRACKETED.findall(plain))
    if letters:
        return letters, _tidy(_BRACKETED.sub(" ", plain))
    leading = _LEADING.match(plain)
    if leading:
        return frozenset(leading.group(1)), plain[leading.end() :].strip()
    return frozenset(), plain


def _tidy(text: str) -> str:
    return " ".join(text.split())
