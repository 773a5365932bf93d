"""Captions as people write them -> the tokens that COCO's caption scorer makes of them, without Java."""

import functools
import re

# What `pycocoevalcap` 1.2 does: Stanford's PTBTokenizer (CoreNLP 3.4.1) in lower case, less these tokens
# (tokenizer/ptbtokenizer.py). Brackets are `-lrb-` in lower case and so stay, against that file's intention.
_DROPPED = frozenset(("''", "'", "``", "`", ".", "?", "!", ",", ":", "-", "--", "...", ";"))

# Characters that stand for others before anything is cut.
_SPELLED = str.maketrans(
    {
        "‘": "'", "’": "'", "“": '"', "”": '"', "…": "...", "—": "--", "–": "--", "£": "#", "€": "$",
        "½": "1/2", "¼": "1/4", "¾": "3/4",
    }
)  # fmt: skip
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}

# Two words that are written as one.
_JOINED = re.compile(r"\b(can)(not)\b|\b(gon|wan)(na)\b|\b(got)(ta)\b|\b(gim|lem)(me)\b|(?<!\w)('t)(is|was)\b")

# Their period belongs to them; that of "no." only before a number. Single letters keep theirs anyhow.
_ABBREVIATIONS = (
    "mr mrs ms dr st jr sr prof gen col capt lt sgt rev gov sen rep mt ft vs etc co inc ltd corp bros ave blvd rd "
    "jan feb mar apr aug sep sept oct nov dec ph.d"
)
_TOKEN = re.compile(
    r"""
      https?://\S+ | www\.[\w./?=&%-]+ | [\w.+-]+@[\w-]+(?:\.[\w-]+)+ | </?[a-z][^<>\s]*>
    | n't\b | 'n' | '(?:s|m|d|re|ve|ll|t|n|em|cause|\d\ds)(?!\w)          # clitics, 'em, '70s, rock 'n' roll
    | (?:ABBREVIATIONS)\.(?!\w) | no\.(?=\s*\d)
    | [a-z]\.(?:[a-z]\.)*(?:-\w+)?(?![\w]) | ol'(?!\w) | y'(?=all\b) | c\+\+ | c\#
    | \d+(?:[.,:/-]\d+)+(?!\w)                                           # 3.5, 1,000, 10:30, 1/2
    | [^\W_]+?(?=n't\b)                                                  # do|n't
    | \w+(?:[-/&.]\w+|(?<!\d)'(?!n'|(?:s|m|d|re|ve|ll|n)(?!\w))\w+)*    # well-dressed, black/white, o'clock
    | [!?]+ | --+ | \S
    """.replace("ABBREVIATIONS", "|".join(map(re.escape, _ABBREVIATIONS.split()))),
    re.VERBOSE,
)


@functools.lru_cache(maxsize=1 << 16)
def _tokens(text: str) -> tuple[str, ...]:
    plain = _JOINED.sub(lambda found: " ".join(filter(None, found.groups())), text.translate(_SPELLED).lower())
    return tuple(
        _BRACKETS.get(token, token) for token in _TOKEN.findall(plain) if token not in _DROPPED and token != '"'
    )


def caption_words(text: str) -> list[str]:
    """Returns the lower-case tokens of an English caption, punctuation dropped, as COCO's caption scorer has them.

    "don't" gives `do n't`, "woman's" `woman 's`; hyphens stay in words. Equal to Stanford's tokenizer on what captions
    are made of; smileys, telephone numbers and mixed fractions ("1 1/2") are cut in a simpler way. Use `tokens.words`
    for scripts without spaces.
    """
    return list(_tokens(text))
