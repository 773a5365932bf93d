"""Text -> tokens for scoring, in any language, and the check that targets and predictions belong together."""

import unicodedata
from collections.abc import Sequence

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


def words(text: str) -> list[str]:
    """Returns the lower-case tokens of `text`; punctuation and other symbols are dropped.

    A token is a run of letters, combining marks and digits, or one single character of a script that is written
    without spaces. A combining mark stays with the character before it. Plain English gives what the tokenizer of
    Google's `rouge_score` gives without stemming.
    """
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


def check(targets: Sequence[Sequence[str]], predictions: Sequence[str]) -> None:
    """Checks that there is a list of targets for each prediction and none is empty.

    Raises:
      ValueError: the counts differ, there is nothing to score, or a prediction has no target.
    """
    if len(targets) != len(predictions):
        raise ValueError(f"{len(targets)} lists of targets for {len(predictions)} predictions: must be as many")
    if not predictions:
        raise ValueError("no prediction to score")
    for number, answers in enumerate(targets):
        if isinstance(answers, str):
            raise ValueError(f"targets[{number}] is one text, must be a list of right answers")
        if not answers:
            raise ValueError(f"targets[{number}] is empty, must hold at least one right answer")
