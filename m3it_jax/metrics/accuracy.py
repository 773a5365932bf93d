"""Share of right answers: the same text, or the same option of a lettered list."""

import re
import unicodedata
from collections.abc import Sequence

from m3it_jax.metrics import tokens

# "(B)" anywhere; a bare letter alone, or at the start before ")", "." or ":". A bare "A " before a word is an article,
# not an option, and does not count.
_BRACKETED = re.compile(r"\(([A-Za-z])\)")
_LEADING = re.compile(r"([A-Za-z])(?:[).:](?:\s|$)|$)")


def exact_match(targets: Sequence[Sequence[str]], predictions: Sequence[str]) -> dict[str, float]:
    """Returns `{"exact_match": share of predictions equal to one of their targets, 0..100}`.

    White space around a text does not count, and a run of it inside counts as one space; all else does: case,
    punctuation, articles.

    Raises:
      ValueError: counts differ, or a list is empty.
    """
    tokens.check(targets, predictions)
    right = sum(
        _tidy(prediction) in {_tidy(answer) for answer in answers}
        for answers, prediction in zip(targets, predictions, strict=True)
    )
    return {"exact_match": 100.0 * right / len(predictions)}


def multiple_choice(targets: Sequence[Sequence[str]], predictions: Sequence[str]) -> dict[str, float]:
    """Returns `{"multiple_choice": share of predictions that name the right option, 0..100}`.

    Targets look like `(B) blue`. The letter decides if the prediction has one: `(B)`, `B.` and `(B) red` are right.
    Without a letter the option's text decides: `blue` is right. A prediction that names two different letters in
    brackets chooses none and is wrong. Case does not count.

    Raises:
      ValueError: counts differ, or a list is empty.
    """
    tokens.check(targets, predictions)
    right = sum(
        any(_same_option(answer, prediction) for answer in answers)
        for answers, prediction in zip(targets, predictions, strict=True)
    )
    return {"multiple_choice": 100.0 * right / len(predictions)}


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
