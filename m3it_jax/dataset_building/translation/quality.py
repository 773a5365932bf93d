"""How good a translated record looks, without a reference: scores, and the first that is out of bounds as the reason.

All scores are of the record's segments together. None proves a translation right; each shows a known way to be wrong.
"""

import collections
import dataclasses
import functools
import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from m3it_jax import errors, languages, metrics
from m3it_jax.dataset_building.translation import masking

UNCHECKED = "cannot be checked"  # the identifier does not know the language
TOO_SHORT = "too short to check"

# CHOICE: letters and words from which a score says something. Class names, names and borrowed words are shorter.
_LETTERS_FROM = 12
_WORDS_FROM = 4
# Identification of 3 or 4 words is right in 69 % of captions (py3langid 0.4, measured), so it needs more of them.
_IDENTIFIED_FROM = 40
_NO_LETTER = re.compile("[^A-Za-z]+")
# A decoder that loops repeats whole phrases: words of three are counted, from so many words on.
_REPEATS_FROM = 9

# Unicode names of letters begin with these (UnicodeData.txt), by ISO 15924 code.
_NAMES: Mapping[str, tuple[str, ...]] = {
    "Latn": ("LATIN",), "Ethi": ("ETHIOPIC",), "Arab": ("ARABIC",), "Beng": ("BENGALI",), "Cyrl": ("CYRILLIC",),
    "Grek": ("GREEK",), "Gujr": ("GUJARATI",), "Hebr": ("HEBREW",), "Deva": ("DEVANAGARI",), "Armn": ("ARMENIAN",),
    "Jpan": ("HIRAGANA", "KATAKANA", "CJK", "KATAKANA-HIRAGANA"), "Geor": ("GEORGIAN",), "Khmr": ("KHMER",),
    "Knda": ("KANNADA",), "Hang": ("HANGUL", "CJK"), "Laoo": ("LAO",), "Mlym": ("MALAYALAM",), "Mymr": ("MYANMAR",),
    "Guru": ("GURMUKHI",), "Taml": ("TAMIL",), "Telu": ("TELUGU",), "Thai": ("THAI",), "Hans": ("CJK",),
    "Hant": ("CJK",),
}  # fmt: skip

# Languages so near to each other that an identifier may take one for the other; both count as right.
_NEAR = (
    {"bs", "hr", "sr"},
    {"id", "ms", "jv"},
    {"gl", "pt", "ast", "es"},
    {"nb", "no", "nn", "da"},
    {"nl", "li", "af"},
)


@dataclasses.dataclass(frozen=True)
class Bounds:
    """What a record's scores may be; out of bounds it is quarantined.

    Attributes:
      least_length: Least characters of the translation for one of the original.
      most_length: Most characters for one of the original.
      most_copied: Largest share of words (0..1) that stand in the original too.
      least_script: Least share of letters (0..1) in the language's script.
      most_repeated: Largest share of word triples (0..1) that stood there before.
      least_back_chrf: Least chrF (0..100) of the back-translation, where there is one.
      least_judged: Least score (0..100) that a model gave, where it was asked.
    """

    least_length: float = 0.4
    most_length: float = 2.5
    most_copied: float = 0.8
    least_script: float = 0.5
    most_repeated: float = 0.3
    least_back_chrf: float = 20.0
    least_judged: float = 30.0


# CHOICE: a character of these scripts stands for more: FLORES sentences have 0.3 (Chinese) to 0.45 (Japanese, Korean)
# characters for one of English, in the scripts with vowel signs about as many as English.
_DENSE = dataclasses.replace(Bounds(), least_length=0.12, most_length=1.2)
_BY_SCRIPT: Mapping[str, Bounds] = {"Hans": _DENSE, "Hant": _DENSE, "Jpan": _DENSE, "Hang": _DENSE}


def bounds(language: languages.Language, changed: Mapping[str, Mapping[str, float]]) -> Bounds:
    """Returns the bounds of a language: by its script, then what `changed` says of `*`, then of its code.

    Raises:
      ConfigError: `changed` names a bound that there is not, or gives no number.
    """
    found = _BY_SCRIPT.get(language.script, Bounds())
    known = [field.name for field in dataclasses.fields(Bounds)]
    for code in ("*", language.code):
        values = changed.get(code, {})
        for name, value in values.items() if isinstance(values, Mapping) else [(str(values), None)]:
            if name not in known or isinstance(value, bool) or not isinstance(value, int | float):
                raise errors.ConfigError(
                    f"--bounds: {code}.{name} is {value!r}; give numbers for {', '.join(known)} by language or *"
                )
        found = dataclasses.replace(found, **values)
    return found


@dataclasses.dataclass(frozen=True)
class Pair:
    """Segments of a record in both languages, in order.

    Attributes:
      source: The original.
      target: The translation.
      back: The translation translated back; empty if it was not.
    """

    source: tuple[str, ...]
    target: tuple[str, ...]
    back: tuple[str, ...] = ()

    @functools.cached_property
    def texts(self) -> tuple[str, str]:
        """Both as one text each."""
        return " ".join(self.source), " ".join(self.target)

    @functools.cached_property
    def letters(self) -> Mapping[str, int]:
        """How many letters the translation has of each script, by the first word of their Unicode names."""
        return _letters(self.texts[1])


def scores(pair: Pair, language: languages.Language, *, identifies: bool) -> dict[str, Any]:
    """Returns the scores of a record, without those that do not apply to it.

    Args:
      pair: Its segments.
      language: The translation's.
      identifies: Whether the language is identified too, which takes longer than all else.

    Raises:
      ScoringError: the language is to be identified and `py3langid` is not installed.
    """
    source, target = pair.texts
    found: dict[str, Any] = {}
    if not source:
        return found
    found["length_ratio"] = round(len(target) / len(source), 3)
    letters = pair.letters
    total = sum(letters.values())
    if total:
        right = sum(letters.get(name, 0) for name in _NAMES.get(language.script, ()))
        found["script"] = round(right / total, 3)
    words = target.lower().split()
    if language.is_spaced and len(words) >= _WORDS_FROM:
        known = set(source.lower().split())
        found["copied"] = round(sum(word in known and word.islower() for word in words) / len(words), 3)  # no numbers
    if not language.is_spaced:
        words = list(target)
    if len(words) >= _REPEATS_FROM:
        triples = list(zip(words, words[1:], words[2:], strict=False))
        found["repeated"] = round(1 - len(set(triples)) / len(triples), 3)
    if identifies:
        found["language"] = identified(target, language.code, num_letters=total)
    if pair.back:
        found["back_chrf"] = round(metrics.chrf([[source]], [" ".join(pair.back)])["chrf"], 1)
    return found


def reason(found: Mapping[str, Any], within: Bounds, pair: Pair) -> str:
    """Returns why a record is quarantined, as a code; empty if all scores are within bounds."""
    source, letters = pair.texts[0], sum(pair.letters.values())
    long = len(source) >= 2 * _LETTERS_FROM
    ratio = found.get("length_ratio", 1.0)
    checks = (
        ("too-short", long and ratio < within.least_length),
        ("too-long", ratio > within.most_length and (long or ratio > 3 * within.most_length)),
        ("other-script", letters >= _LETTERS_FROM and found.get("script", 1.0) < within.least_script),
        ("copied", found.get("copied", 0.0) > within.most_copied),
        ("repeats", found.get("repeated", 0.0) > within.most_repeated),
        ("other-language", found.get("language") == "other"),
        ("back-translation", long and found.get("back_chrf", 100.0) < within.least_back_chrf),
        ("judged", found.get("judged", 100.0) < within.least_judged),
    )
    return next((code for code, holds in checks if holds), "")


def weight(found: Mapping[str, Any], within: Bounds) -> float:
    """Returns how far a record is to be trusted, 0..1: the product of what its scores leave.

    CHOICE: a score without fault gives 1, one at its bound about a half; the back-translation and the model's score
    count as they are, since both have a natural range.
    """
    value = 1.0 - 0.5 * min(1.0, found.get("copied", 0.0) / within.most_copied)
    value *= 1.0 - 0.5 * min(1.0, found.get("repeated", 0.0) / within.most_repeated)
    value *= min(1.0, found.get("script", 1.0))
    value *= 0.9 if found.get("marks") == "pieces" else 1.0
    value *= found.get("back_chrf", 100.0) / 100
    value *= found.get("judged", 100.0) / 100
    return round(value, 3)


def identified(text: str, code: str, *, num_letters: int) -> str:
    """Returns `right` or `other`, or why that cannot be told."""
    if not covered(code):
        return UNCHECKED
    dense = code.split("-")[0] in ("zh", "ja", "ko", "th", "lo", "km", "my")
    if num_letters < (_LETTERS_FROM if dense else _IDENTIFIED_FROM):
        return TOO_SHORT
    tag = code.split("-")[0]
    near = next((sorted(group & _known()) for group in _NEAR if tag in group), [tag])
    return "right" if metrics.language_match([near], [text])["language_match"] else "other"


def covered(code: str) -> bool:
    """Returns whether the identifier knows a language.

    Raises:
      ScoringError: `py3langid` is not installed.
    """
    return code.split("-")[0] in _known()


@functools.cache
def _known() -> frozenset[str]:
    return metrics.identified_languages()


def _letters(text: str) -> collections.Counter[str]:
    if text.isascii():
        return collections.Counter({"LATIN": len(_NO_LETTER.sub("", text))})
    found: collections.Counter[str] = collections.Counter()
    for character, number in collections.Counter(text).items():
        if name := _script(character):
            found[name] += number
    return found


@functools.lru_cache(maxsize=1 << 15)
def _script(character: str) -> str:
    return unicodedata.name(character, "").partition(" ")[0] if character.isalpha() else ""


def merged(before: Sequence[str], after: Sequence[str]) -> bool:
    """Returns whether options that were different have become the same, their letters aside."""
    return len(set(map(_bare, after))) < len(set(map(_bare, before)))


def _bare(option: str) -> str | tuple[str, ...]:
    return masking.cut(option).segments or option
