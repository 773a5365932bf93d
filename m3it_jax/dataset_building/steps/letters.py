"""What stands beside what in written language: where a text is odd, and whether a letter is written where it stands."""

import collections
import functools
import re
import unicodedata

# Signs that close what was said, or belong to the word before them: they may follow a letter directly.
_AFTER_LETTERS = frozenset("»”’‘“…–—›‹«™®©²³¹·†‡•ªº°")
# Of these, those that never stand between two letters of one word, as dashes, apostrophes and Catalan's dot do.
_NOT_BETWEEN = _AFTER_LETTERS - frozenset("’‘–—·")
# Punctuation that opens something, or that belongs to numbers.
_NOT_AFTER_LETTERS = frozenset("¡¿‰§¶ˆ")
# After a word of one letter these are none of the signs that close what was said.
_NOT_AFTER_ONE = frozenset("©®°²³\xa0\xad")
# Letters of which no language makes a word by themselves.
_NO_WORDS = frozenset("ÂÃ")
_QUOTES = frozenset("»”’‘“…–—›‹«™")
_JOINERS = frozenset("\u200b\u200c\u200d\u200e\u200f")
# Letters of the languages that are written in Latin, most of which UTF-8 keeps in two bytes; not those of phonetics,
# into which a capital and a quotation mark fit by chance. Blocks of the Unicode standard, and its index of letters for
# Azerbaijani (schwa), Romanian (comma below), Vietnamese (horn), pinyin (caron).
_LATIN = re.compile(
    "[A-Za-z\xaa-\u017f\u018f\u0192\u01a0\u01a1\u01af\u01b0\u01cd-\u01dc\u0218-\u021b\u0259\u1e00-\u1eff]"
)
# The letters beyond ASCII of languages that are written in Latin (Unicode CLDR, exemplar characters): what no line has
# both of stands side by side in no word.
_ALPHABETS = tuple(
    frozenset(line)
    for line in (
        "äöüßẞ", "àâæçéèêëîïôœùûüÿñ", "áéíñóúüïçªº", "áàâãçéêíóôõúüò", "àáèéìíîòóùú", "áäéëíïóöúüèê", "åæøéèêàóòôäöü",
        "åäöéèàáüæø", "äöšž", "áðéíóúýþæö", "áäéíóöőúüűž", "äõöüšžå", "āčēģīķļņšūžōŗ", "ąčęėįšųūžáéíóúýàãẽìĩñòõùũỹ",
        "ąćęłńóśźżöüáé", "áčďéěíňóřšťúůýžäöü", "áäčďéíĺľňóôŕšťúýž", "ăâîșțşţáéíóäöü", "čćđšžǆǉǌäöüáéíóúàèìòù",
        "çëâêîôû", "çğıiöşüâîûi\u0307", "çəğıiöşü", "çñáéíóúàèìòùïü·ŀ", "áéíóúàèìòùâêîôûŵŷäëïöüẁẃẅỳýÿ", "ċġħżàèìòù",
        "čćěłńóřŕśšžź",
        "ĉĝĥĵŝŭ", "áíóúýæøð", "áčđŋšŧž", "āēīōūǖáéíóúǘǎěǐǒǔǚàèìòùǜüêńňǹ", "ẹọṣáéíóúàèìòùńǹḿ", "ɓɗƙƴ", "āēīōū",
        "āáàḍḏḥḫīḷḹḻṁṃṅñṇṉōṛṝṟśşšṣṭṯūúẓẕžġǧčçěéēíóṙ", "ɖɛƒɣŋɔʋãẽĩõũ", "ãẽĩõũỹñáéíóúýg\u0303",
        "àáâãèéêìíòóôõùúýăđĩũơư" + "".join(map(chr, range(0x1EA0, 0x1EFA))),
    )
)  # fmt: skip
_HELD = 1 << 14  # answers that are kept: more than the letters of any text, and few megabytes
_EAST = frozenset({"CJK", "HANGUL"})  # stand beside Latin letters without a space
_ANY_SCRIPT = frozenset({"COMBINING", "MODIFIER", "FEMININE", "MASCULINE"})
_CJK = frozenset({"HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA", "IDEOGRAPHIC", "CJK"})


@functools.lru_cache(_HELD)
def script(letter: str) -> str:
    """Returns the script of a letter by its name in the Unicode standard; Han, kana and their signs are one, `CJK`."""
    name = unicodedata.name(letter, "").split(" ")[0]
    return "CJK" if name in _CJK else name


@functools.lru_cache(_HELD)
def is_letter(character: str) -> bool:
    """Returns whether a character is a letter, or a mark that stands on one."""
    return unicodedata.category(character)[0] in "LM" and character not in "ªº"


@functools.lru_cache(_HELD)
def _is_sign(character: str) -> bool:
    """Returns whether a character is one that follows no letter without a space: ±, ¼, €, „, a line of a box."""
    if character.isascii() or character in _AFTER_LETTERS or character in _JOINERS:
        return False
    return unicodedata.category(character) in ("Sm", "Sk", "Sc", "So", "No", "Ps", "Cf") or (
        character in _NOT_AFTER_LETTERS
    )


@functools.lru_cache(_HELD)
def _may_follow(sign: str) -> bool:
    """Returns whether a sign is one that a sentence has behind a word."""
    return sign in _AFTER_LETTERS or (unicodedata.category(sign) == "Po" and sign not in _NOT_AFTER_LETTERS)


def oddness(text: str, start: int, end: int) -> int:
    """Returns how many things are odd about `text[start:end]` where it stands; 0 if some language may write it so."""
    part = text[start:end]
    if any("\x80" <= character < "\xa0" for character in part):  # no text has the control characters of ISO 6429
        return 3
    around = text[max(start - 1, 0) : end + 1]
    points = sum(_is_odd_pair(first, second) for first, second in zip(around, around[1:], strict=False))
    for first, middle, last in zip(around, around[1:], around[2:], strict=False):
        points += middle in _NOT_BETWEEN and is_letter(first) and is_letter(last)
    begins = is_letter(part[0]) and not is_letter(text[start - 1 : start] or " ")
    points += begins and len(part) == 2 and (part[1] in _NOT_AFTER_ONE or part[0] in _NO_WORDS)
    points += (
        part[0] > "\x7f" and unicodedata.category(part[0])[0] == "S" and not part[1].isspace() and part[1] > "\x7f"
    )
    # Three letters in a row may be a word; letters and signs in turn are none.
    points += len(part) > 2 and not all(is_letter(each) or _may_follow(each) for each in part)
    if points == 1 and part[1] in _QUOTES and not is_letter(text[end : end + 1] or " ") and not around[0].islower():
        return int(part[0] in _NO_WORDS)  # the end of a quotation in capitals, perhaps of a formula
    return points


@functools.lru_cache(_HELD)
def _is_odd_pair(first: str, second: str) -> bool:
    """Returns whether no word has these two side by side: `aB`, `a±`, `aб`, `5É`."""
    if not is_letter(second):
        return is_letter(first) and _is_sign(second)
    if not is_letter(first):
        return first.isdigit() and second.isupper() and second > "\x7f" and script(second) == "LATIN"
    if first.islower() and second.isupper():
        return True
    scripts = {script(first), script(second)}
    if scripts == {"LATIN"}:
        pair = {first.casefold(), second.casefold()}
        return not (first.isascii() or second.isascii() or any(pair <= alphabet for alphabet in _ALPHABETS))
    return len(scripts) > 1 and not scripts & (_EAST | {"COMBINING"})


def counts(text: str) -> collections.Counter[str]:
    """Returns how many letters of each script a text has."""
    return collections.Counter(script(character) for character in text if is_letter(character))


def is_written(text: str, place: int, scripts: collections.Counter[str]) -> bool:
    """Returns whether some language writes `text[place]` where it stands; `scripts` are the text's, as `counts`."""
    character = text[place]
    before, after = text[place - 1 : place] or " ", text[place + 1 : place + 2] or " "
    kind = unicodedata.category(character)
    if kind in ("Cn", "Cc", "Co", "Cs"):
        return False
    if kind[0] == "M":
        if script(character) == "COMBINING":
            return len(unicodedata.normalize("NFC", before + character)) == 1
        return is_letter(before) or character in "\ufe0e\ufe0f"
    if not is_letter(character):
        if "\u3000" <= character <= "\u33ff" and not scripts["CJK"]:  # signs of East Asia
            return False
        return not (kind[0] == "S" and is_letter(before) and is_letter(after))
    own = script(character)
    if own in _ANY_SCRIPT:
        return True
    if character.isupper() and before.islower():
        return False
    beside = {script(each) for each in (before, after) if is_letter(each)} - _ANY_SCRIPT - {own}
    if own == "LATIN":
        return not beside and _LATIN.match(character) is not None and not _is_small_among_capitals(text, place)
    if beside - ({"LATIN", "HALFWIDTH", "FULLWIDTH"} | _EAST if own in _EAST else set()):
        return False
    # One letter of a script by itself fits by chance too often.
    return scripts[own] > 1 or (own in _EAST and scripts.total() == 1)


def _is_small_among_capitals(text: str, place: int) -> bool:
    before, after = text[max(place - 2, 0) : place], text[place + 1 : place + 2]
    return (
        text[place].islower()
        and text[place] != "ß"
        and before[-1:].isupper()
        and (after.isupper() or (len(before) > 1 and before[0].isupper()))
    )
