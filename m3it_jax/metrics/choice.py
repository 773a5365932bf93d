"""Multiple choice by the letter or the text of an answer, as published benchmarks read it, or by likelihood.

`accuracy.multiple_choice` is the project's own rule, strict about what names an option; these three are other people's,
for figures that are to stand beside theirs.
"""

import re
import string
from collections.abc import Sequence

import numpy as np

from m3it_jax.metrics import checking, sums

_LETTERED = re.compile(r"\s*\(?([A-Z])(?:[).:]\s*(.*)|\s*)$", re.DOTALL)  # "(B) blue", "B. blue", "B"

# VLMEvalKit (ms-vlmeval 0.0.20), vlmeval/utils/matching_util.py.
_SEPARATORS = str.maketrans(dict.fromkeys(".()[],:;!*#{}", " "))
_LAST_WORDS = 4  # the letter counts if it stands among the last four words
_NO_ANSWER = (
    "Failed to obtain answer via API",
    "Sorry, I can't help with images of people yet.",
    "I can't process this file.",
    "I'm sorry, but without the image provided",
    "Cannot determine the answer",
)


def multiple_choice_letter(
    targets: Sequence[Sequence[str]], predictions: Sequence[str], *, options: Sequence[Sequence[str]] | None = None
) -> dict[str, float]:
    """Returns `{"multiple_choice_letter": share of predictions that name the right letter, 0..100}`.

    The rule is `can_infer_option` of VLMEvalKit: the prediction must have exactly one of the options' letters as a
    word, upper case, and among its last four words. So "A red circle" names A.

    Args:
      targets: Right options of each prediction, with their letters: `(B) blue` or `B`.
      predictions: One text each.
      options: All options of each prediction, in order from A; only their number matters. By default A to Z.

    Raises:
      ScoringError: see `checking.texts`; or a target has no letter, or options are not as many as predictions.
    """
    return sums.mean("multiple_choice_letter", letter_rows(targets, predictions, options=options))


def letter_rows(
    targets: Sequence[Sequence[str]], predictions: Sequence[str], *, options: Sequence[Sequence[str]] | None = None
) -> sums.Floats:
    """Returns float64 [rows], 100 for a right letter, else 0."""
    checking.texts(targets, predictions)
    if options is not None:
        checking.options(options, predictions)
    found = []
    for number, (answers, prediction) in enumerate(zip(targets, predictions, strict=True)):
        letters = string.ascii_uppercase[: len(options[number])] if options is not None else string.ascii_uppercase
        right = {_letter(answer, f"targets[{number}]") for answer in answers}
        found.append(100.0 * (_named(prediction, letters) in right))
    return np.array(found)


def multiple_choice_text(
    targets: Sequence[Sequence[str]], predictions: Sequence[str], *, options: Sequence[Sequence[str]]
) -> dict[str, float]:
    """Returns `{"multiple_choice_text": share of predictions that name the right option by its text, 0..100}`.

    The rule is `can_infer_text` of VLMEvalKit: the prediction contains the text of exactly one option, in any case,
    and is at most twice as long as all options together.

    Args:
      targets: Right options of each prediction: `(B) blue`, `B` or `blue`.
      predictions: One text each.
      options: All options of each prediction, in order from A, with their letters or without.

    Raises:
      ScoringError: see `checking.texts`; or a target is none of the options, or options are not as many as predictions.
    """
    return sums.mean("multiple_choice_text", text_rows(targets, predictions, options=options))


def text_rows(
    targets: Sequence[Sequence[str]], predictions: Sequence[str], *, options: Sequence[Sequence[str]]
) -> sums.Floats:
    """Returns float64 [rows], 100 for a right option, else 0."""
    checking.texts(targets, predictions)
    checking.options(options, predictions)
    found = []
    for number, (answers, prediction) in enumerate(zip(targets, predictions, strict=True)):
        choices = [_text(option).lower() for option in options[number]]
        right = {_number(answer, choices, f"targets[{number}]") for answer in answers}
        answer = prediction.lower()
        named = [place for place, choice in enumerate(choices) if choice in answer]
        short = len(answer) <= 2 * sum(map(len, choices))
        found.append(100.0 * (short and len(named) == 1 and named[0] in right))
    return np.array(found)


def multiple_choice_likelihood(
    targets: Sequence[Sequence[int]],
    predictions: Sequence[Sequence[float]],
    *,
    lengths: Sequence[Sequence[int]] | None = None,
) -> dict[str, float]:
    """Returns `{"multiple_choice_likelihood": share of rows whose likeliest option is right, 0..100}`.

    Equal to `acc` of lm-evaluation-harness, and with `lengths` to its `acc_norm`. Of equally likely options the first
    counts as chosen.

    Args:
      targets: Numbers from 0 of the right options of each row.
      predictions: The log likelihood of each option (`assistant.log_likelihood`).
      lengths: Characters of each option; log likelihoods are divided by them, so that long options stand a chance.

    Raises:
      ScoringError: the counts differ, a row is empty, a value is no number, or a target is no option.
    """
    return sums.mean("multiple_choice_likelihood", likelihood_rows(targets, predictions, lengths=lengths))


def likelihood_rows(
    targets: Sequence[Sequence[int]],
    predictions: Sequence[Sequence[float]],
    *,
    lengths: Sequence[Sequence[int]] | None = None,
) -> sums.Floats:
    """Returns float64 [rows], 100 where the likeliest option is right, else 0."""
    checking.count(targets, predictions)
    checking.rows(targets, what="numbers of right options")
    checking.rows(predictions, what="log likelihoods, one an option", name="predictions")
    if lengths is not None and list(map(len, lengths)) != list(map(len, predictions)):
        raise checking.ScoringError("lengths must hold one length for each log likelihood of predictions")
    found = []
    for number, (right, row) in enumerate(zip(targets, predictions, strict=True)):
        for place, value in enumerate(row):
            checking.number(value, f"predictions[{number}][{place}]")
        for option in right:
            if isinstance(option, bool | str) or option not in range(len(row)):
                raise checking.ScoringError(
                    f"targets[{number}] has {option!r}, must be numbers of options from 0 to {len(row) - 1}"
                )
        values = np.asarray(row, np.float64)
        if lengths is not None:
            if min(lengths[number]) <= 0:
                raise checking.ScoringError(f"lengths[{number}] has {min(lengths[number])}, must be above 0")
            values = values / np.asarray(lengths[number], np.float64)
        found.append(100.0 * (int(values.argmax()) in right))
    return np.array(found)


def _named(prediction: str, letters: str) -> str | None:
    if any(refusal in prediction for refusal in _NO_ANSWER):
        return None
    words = prediction.translate(_SEPARATORS).split()
    named = [letter for letter in letters if letter in words]
    if len(named) != 1 or words.index(named[0]) < len(words) - _LAST_WORDS:
        return None
    return named[0]


def _letter(answer: str, place: str) -> str:
    found = _LETTERED.match(answer)
    if not found:
        raise checking.ScoringError(f"{place} has {answer!r}, must begin with the option's letter, as (B) or B. do")
    return found.group(1)


def _text(option: str) -> str:
    found = _LETTERED.match(option)
    return option.strip() if not found or found.group(2) is None else found.group(2).strip()


def _number(answer: str, choices: Sequence[str], place: str) -> int:
    """Returns the number of the option that a target names, by its text or else by its letter."""
    text, found = _text(answer).lower(), _LETTERED.match(answer)
    number = choices.index(text) if text in choices else string.ascii_uppercase.index(found.group(1)) if found else -1
    if not 0 <= number < len(choices):
        raise checking.ScoringError(f"{place} has {answer!r}, which is none of the options")
    return number
