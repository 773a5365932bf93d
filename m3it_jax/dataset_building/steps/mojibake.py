"""Whether a text was decoded with the wrong encoding: evidence from its bytes and from its letters, no list of texts.

UTF-8 that was read as something else can be taken back: encode with the wrong encoding, decode as UTF-8.

    CafÃ©   -> Windows-1252's bytes 43 61 66 C3 A9       -> Café
    KÖ…     -> Windows-1252's bytes 4B D6 85             -> K and a letter of Armenian: the text is sound
    “CAFÉ”  -> 93 43 41 46 C9 94                         -> 93 begins nothing in UTF-8: the text is sound

That bytes fit is not enough: sound texts fit by chance where a capital stands before a quotation mark. A text is
damaged where three things hold: its bytes fit, what they become is written like that in some language, and what stood
there is not.
"""

import functools
import re
from collections.abc import Iterator

from m3it_jax.dataset_building.steps import letters

# Encodings of one byte a letter in which files lie on Windows, Macintosh, DOS and Unix.
_SINGLE = (
    "cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258", "cp874",
    "cp437", "cp737", "cp775", "cp850", "cp852", "cp855", "cp857", "cp862", "cp866",
    "mac-roman", "mac-cyrillic", "mac-latin2", "koi8-r", "koi8-u", "iso8859-2", "iso8859-4", "iso8859-5", "iso8859-7",
    "iso8859-13", "iso8859-15",
)  # fmt: skip
# Those of East Asia, of one byte or two a letter.
_DOUBLE = ("cp932", "gb18030", "big5", "cp949", "euc-jp")

# CHOICE: share of the letters beyond ASCII that have to fit; in Cyrillic and Greek a few always do in some encoding.
_LEAST_COVERED = 0.25
_MOST_ROUNDS = 1  # a text that was misread twice is misread still when it was taken back once
# CHOICE: characters of a text that are looked at; a damaged one shows it long before, and each costs a microsecond.
_MOST_CHARACTERS = 1 << 13
_LOST = "\ufffd"  # what decoders put in place of bytes they cannot read
_NONE = "\uffff"  # no character: stands for one that an encoding does not have

# Well-formed UTF-8 beyond ASCII, each byte as the character of its number: RFC 3629, section 4.
_SEQUENCE = re.compile(
    "[\xc2-\xdf][\x80-\xbf]|\xe0[\xa0-\xbf][\x80-\xbf]|[\xe1-\xec\xee\xef][\x80-\xbf]{2}|\xed[\x80-\x9f][\x80-\xbf]"
    "|\xf0[\x90-\xbf][\x80-\xbf]{2}|[\xf1-\xf3][\x80-\xbf]{3}|\xf4[\x80-\x8f][\x80-\xbf]{2}"
)
# The first byte of a small letter behind another one, and the second lost: a no-break space is often made a space.
_CUT = re.compile(r"[a-z\xdf-\xff]\xc3(?![^\W\d_]|[^\s\w])")
_FOREIGN_RUN = re.compile("[^\0-\x7f]{2,}")
_EASTERN = re.compile("[\u2e80-\u9fff\uac00-\ud7a3\uf900-\ufaff\uff00-\uffef]")


def is_mojibake(text: str) -> bool:
    """Returns whether a text was decoded with the wrong encoding, once or more often, or holds the sign of a loss."""
    if text.isascii():
        return False
    return _LOST in text or _CUT.search(text) is not None or _is_misread(text[:_MOST_CHARACTERS], _MOST_ROUNDS)


def _is_misread(text: str, rounds: int) -> bool:
    tables = _tables()
    if any(_taken_back(text, tables[number], rounds) for number in _fitting(text)):
        return True
    return _EASTERN.search(text) is not None and any(_taken_back_double(text, name) for name in _DOUBLE)


@functools.cache
def _tables() -> tuple[dict[int, str], ...]:
    """Returns for each of `_SINGLE` which byte a character was, as `str.translate` takes it.

    A byte without a meaning is read as the control character of its number, as browsers do (WHATWG Encoding, section
    9.2), and so is a control character in an encoding that has none.
    """
    return tuple(_table(name) for name in _SINGLE)


def _table(name: str) -> dict[int, str]:
    meanings = {byte: bytes([byte]).decode(name, "replace") for byte in range(0x80, 0x100)}
    known = {ord(letter): chr(byte) for byte, letter in meanings.items() if letter != _LOST}
    unknown = {byte: chr(byte) for byte, letter in meanings.items() if letter == _LOST or byte < 0xA0}
    return dict.fromkeys(range(0x80, 0x100), _NONE) | unknown | known


@functools.cache
def _roles() -> tuple[dict[str, int], dict[str, int]]:
    """Returns which characters begin a sequence of UTF-8 and which go on with one: bits by number of the encoding."""
    begins: dict[str, int] = {}
    goes_on: dict[str, int] = {}
    for number, table in enumerate(_tables()):
        for letter, byte in table.items():
            role = begins if "\xc2" <= byte <= "\xf4" else goes_on if "\x80" <= byte <= "\xbf" else None
            if role is not None:
                role[chr(letter)] = role.get(chr(letter), 0) | 1 << number
    return begins, goes_on


def _fitting(text: str) -> Iterator[int]:
    """Yields the numbers of those encodings in which somewhere in a text a sequence of UTF-8 may begin and go on."""
    begins, goes_on = _roles()
    found = 0
    for run in _FOREIGN_RUN.findall(text):
        before = 0
        for letter in run:
            found |= before & goes_on.get(letter, 0)
            before = begins.get(letter, 0)
    return (number for number in range(found.bit_length()) if found >> number & 1)


def _taken_back(text: str, table: dict[int, str], rounds: int) -> bool:
    """Returns whether a text says more when the bytes it had in an encoding are read as UTF-8."""
    found = list(_SEQUENCE.finditer(text.translate(table)))
    covered, foreign = sum(len(each[0]) for each in found), sum(letter > "\x7f" for letter in text)
    if covered < _LEAST_COVERED * foreign:
        return False
    # A word that stands there twice is no more evidence than once.
    points = {text[each.start() : each.end()]: letters.oddness(text, *each.span()) for each in found}
    odd = sum(points.values()) + _in_turn(text, found)
    if not odd:
        return False
    fixed, places = _with(text, found)
    scripts = letters.counts(fixed)
    unwritten = sum(not letters.is_written(fixed, place, scripts) for place in places)
    is_whole = covered == foreign
    if not unwritten:
        # A single letter of Asia has three bytes, which may be those of a word of three letters.
        is_doubtful = not is_whole or (len(found[0][0]) > 2 and len(scripts) == len(found) == scripts.total())
        return odd > 1 or not is_doubtful
    return (4 * unwritten <= len(found) and odd > 3 * unwritten + 1) or (
        is_whole and rounds > 0 and _is_misread(fixed, rounds - 1)
    )


def _with(text: str, found: list[re.Match[str]]) -> tuple[str, list[int]]:
    """Returns a text with the letter of each sequence in its place, and where these letters stand."""
    pieces: list[str] = []
    places, end, length = [], 0, 0
    for each in found:
        pieces += [text[end : each.start()], each[0].encode("latin-1").decode("utf-8")]
        length += each.start() - end + 1
        places.append(length - 1)
        end = each.end()
    return "".join([*pieces, text[end:]]), places


def _in_turn(text: str, found: list[re.Match[str]]) -> int:
    """Returns how often two sequences of a sign and a letter follow each other: `–ü–Ω`, two letters of Cyrillic."""
    signed = [each for each in found if not letters.is_letter(text[each.start()])]
    return sum(first.end() == second.start() for first, second in zip(signed, signed[1:], strict=False))


@functools.cache
def _common() -> frozenset[str]:
    """Returns the Han characters that are in daily use: the first levels of GB 2312, JIS X 0208 and Big5."""
    rows = ((range(0xB0, 0xD8), "gb2312"), (range(0xB0, 0xD0), "euc-jp"), (range(0xA4, 0xC6), "big5"))
    return frozenset(
        letter
        for leads, name in rows
        for lead in leads
        for trail in range(0x40, 0xFF)
        if len(letter := bytes([lead, trail]).decode(name, "ignore")) == 1
    )


def _taken_back_double(text: str, name: str) -> bool:
    """Returns the same as `_taken_back` for an encoding in which a letter may have two bytes."""
    try:
        data = text.encode(name)
    except UnicodeEncodeError:
        return False
    found = _SEQUENCE.findall(data.decode("latin-1"))
    num_high = sum(byte > 0x7F for byte in data)
    if not found or sum(map(len, found)) < (0.8 if len(found) > 3 else 1) * num_high:
        return False
    fixed = data.decode("utf-8", "replace")
    scripts = letters.counts(fixed)
    foreign = [place for place, letter in enumerate(fixed) if letter > "\x7f" and letter != _LOST]
    if not all(letters.is_written(fixed, place, scripts) for place in foreign):
        return False
    if any(letters.oddness(text, place, place + 2) for place in range(len(text) - 1) if text[place + 1] > "\x7f"):
        return True
    own = {letters.script(fixed[place]) for place in foreign}
    if own & {"CJK", "HANGUL"}:
        return len(foreign) > 1 and _share_common(fixed) > _share_common(text)
    if num_high != sum(map(len, found)):
        return False
    if own == {"LATIN"}:
        return any(fixed[place - 1 : place].isalpha() and fixed[place + 1 : place + 2].isalpha() for place in foreign)
    return len(found) > 2 and len(own) == 1


def _share_common(text: str) -> float:
    """Returns which part of the letters of East Asia in a text are in daily use, in 0..1; all of Korea's are."""
    eastern = [letter for letter in text if letters.script(letter) in ("CJK", "HANGUL") and letters.is_letter(letter)]
    rare = sum("\u3400" <= letter <= "\u9fff" and letter not in _common() for letter in eastern)
    return 1 - rare / max(1, len(eastern))
