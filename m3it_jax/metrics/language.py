"""Is an answer in the language that was asked for? Identified by `py3langid`, which knows 139 languages."""

import functools
from collections.abc import Callable, Sequence

import numpy as np

from m3it_jax.metrics import checking, sums

_ANY = frozenset(("mul", "und"))  # BCP-47: several languages, an unknown one


def language_match(
    targets: Sequence[Sequence[str]], predictions: Sequence[str], *, among: Sequence[str] | None = None
) -> dict[str, float]:
    """Returns `{"language_match": share of predictions in one of their languages, 0..100}`.

    The language of a text is what `py3langid.classify` says. Digits and signs alone are in every language, an empty
    text is in none. Texts of one or two words are often taken for a wrong language; `among` helps.

    Args:
      targets: BCP-47 tags of the languages that each prediction may be in; the part before the first `-` counts, and
        `mul` stands for any.
      predictions: One text each.
      among: Tags of the languages to choose from, for instance those of the task and English. By default all.

    Raises:
      ScoringError: see `checking.texts`; or a language is not known to `py3langid`, or that is not installed.
    """
    return sums.mean("language_match", rows(targets, predictions, among=among))


def rows(
    targets: Sequence[Sequence[str]], predictions: Sequence[str], *, among: Sequence[str] | None = None
) -> sums.Floats:
    """Returns float64 [rows], 100 for a prediction in a right language, else 0."""
    checking.texts(targets, predictions)
    wanted = [{_primary(tag) for tag in tags} for tags in targets]
    choice = None if among is None else frozenset(map(_primary, among)).union(*wanted) - _ANY
    every = frozenset().union(*wanted, choice or ()) - _ANY
    unknown = sorted(every - _known())
    if unknown:
        raise checking.ScoringError(
            f"targets: language {unknown[0]!r} is not known to py3langid; it knows {', '.join(sorted(_known()))}"
        )
    classify = _classifier(choice)
    return np.array([100.0 * _fits(tags, text, classify) for tags, text in zip(wanted, predictions, strict=True)])


def identified_languages() -> frozenset[str]:
    """Returns the first parts of the BCP-47 tags that can be identified.

    Raises:
      ScoringError: `py3langid` is not installed.
    """
    return _known()


def _primary(tag: str) -> str:
    return tag.strip().replace("_", "-").split("-")[0].lower()


def _fits(wanted: set[str], text: str, classify: Callable[[str], str]) -> bool:
    if not any(map(str.isalpha, text)):
        return bool(text.strip())
    return bool(wanted & _ANY) or classify(text) in wanted


@functools.cache
def _known() -> frozenset[str]:
    try:
        from py3langid import langid  # not above: its model takes a second and 30 MB
    except ImportError as error:
        raise checking.ScoringError(
            "language_match: py3langid is not installed; run pip install -e '.[eval]' in the repository"
        ) from error
    return frozenset(langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE).labels)


@functools.lru_cache(maxsize=8)
def _classifier(among: frozenset[str] | None) -> Callable[[str], str]:
    """Returns the function text -> language that chooses among some languages, or all if None."""
    from py3langid import langid

    identifier = langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE)
    if among is not None:
        identifier.set_languages(sorted(among))
    return lambda text: str(identifier.classify(text)[0])
