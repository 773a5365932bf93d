"""What may be scored: every mistake in targets and predictions is told in one line, with its place."""

import itertools
import math
from collections.abc import Iterator, Sequence
from typing import Any

from m3it_jax import errors

_LETTERS = 26


class ScoringError(errors.UserError, ValueError):
    """Targets and predictions that cannot be scored; the message names the place and the value."""


def texts(targets: Sequence[Sequence[str]], predictions: Sequence[str]) -> None:
    """Checks that each prediction is a text and has a list of at least one text as targets.

    Raises:
      ScoringError: there is nothing to score, the counts differ, a prediction has no target, or something is no text
        (NaN, a number, half of a surrogate pair).
    """
    count(targets, predictions)
    rows(targets, what="right answers")
    try:
        "".join(itertools.chain(predictions, itertools.chain.from_iterable(targets))).encode()
    except (TypeError, UnicodeEncodeError):
        for place, value in _places(targets, predictions):
            text(value, place)
        raise


def count(targets: Sequence[Any], predictions: Sequence[Any]) -> None:
    """Checks that both are lists of one length, and not empty.

    Raises:
      ScoringError: they are not.
    """
    for name, values in (("targets", targets), ("predictions", predictions)):
        if not _is_list(values):
            raise ScoringError(f"{name} is {_shown(values)}, must be a list with one entry for each prediction")
    if len(targets) != len(predictions):
        raise ScoringError(f"{len(targets)} lists of targets for {len(predictions)} predictions: must be as many")
    if not len(predictions):
        raise ScoringError("no prediction to score: targets and predictions are empty")


def rows(values: Sequence[Any], *, what: str, name: str = "targets") -> None:
    """Checks that every entry is a list of something; `what` words it.

    Raises:
      ScoringError: one is empty, one single text or no list.
    """
    for number, row in enumerate(values):
        if isinstance(row, list) and row:
            continue
        if isinstance(row, str):
            raise ScoringError(f"{name}[{number}] is one text, must be a list of {what}")
        if not _is_list(row):
            raise ScoringError(f"{name}[{number}] is {_shown(row)}, must be a list of {what}")
        if not len(row):
            raise ScoringError(f"{name}[{number}] is empty, must hold at least one of the {what}")


def options(values: Sequence[Sequence[str]], predictions: Sequence[str]) -> None:
    """Checks that there is a list of lettered options, texts, for each prediction.

    Raises:
      ScoringError: there is not, or one has more options than there are letters.
    """
    if not _is_list(values) or len(values) != len(predictions):
        raise ScoringError(f"options must be a list of lists, one for each of the {len(predictions)} predictions")
    rows(values, what="options", name="options")
    for place, row in enumerate(values):
        for choice, option in enumerate(row):
            text(option, f"options[{place}][{choice}]")
        if len(row) > _LETTERS:
            raise ScoringError(f"options[{place}] has {len(row)} options, must be at most {_LETTERS}, one a letter")


def text(value: Any, place: str) -> None:
    """Checks that a value is a text that can be written as UTF-8.

    Raises:
      ScoringError: it is not; `place` names it.
    """
    if not isinstance(value, str):
        raise ScoringError(f"{place} is {_shown(value)}, must be text")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        raise ScoringError(
            f"{place} has half of a surrogate pair, {value[error.start]!r} at character {error.start}, which is no "
            "text; read the answers as UTF-8"
        ) from None


def number(value: Any, place: str) -> None:
    """Checks that a value is a number, infinite ones included.

    Raises:
      ScoringError: it is no number, or NaN; `place` names it.
    """
    # Scalars of NumPy and JAX have __float__ as well; a text can be turned into a number and yet is none.
    if isinstance(value, str | bytes | bool) or not hasattr(value, "__float__") or math.isnan(float(value)):
        raise ScoringError(f"{place} is {_shown(value)}, must be a number")


def _is_list(value: Any) -> bool:
    return hasattr(value, "__len__") and hasattr(value, "__getitem__") and not isinstance(value, str | bytes | dict)


def _places(targets: Sequence[Sequence[Any]], predictions: Sequence[Any]) -> Iterator[tuple[str, Any]]:
    for place, prediction in enumerate(predictions):
        yield f"predictions[{place}]", prediction
    for place, answers in enumerate(targets):
        for choice, answer in enumerate(answers):
            yield f"targets[{place}][{choice}]", answer


def _shown(value: Any) -> str:
    shown = repr(value)
    return f"{shown if len(shown) <= 60 else shown[:57] + '...'} ({type(value).__name__})"
