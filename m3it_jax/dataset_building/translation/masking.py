"""A text as what is translated and what is not: line breaks, option letters, numbers, boxes, slots and the like stay.

    "Options:⏎(A) 3 dogs. Run!⏎(B) <image>"
        segments   "Options:"   "3 dogs."   "Run!"
        glue     ""          "⏎(A) "     " "      "⏎(B) <image>"

A segment is one sentence of one line, so a line break cannot get lost, and the same option is the same segment wherever
it stands. Inside a segment what must survive is masked as `[1]`, `[2]`, ..., a form that web text is full of and that
translators copy. `restored` accepts an answer only if each mark stands in it once and no other does.
"""

import dataclasses
import functools
import re

# CHOICE: characters. NLLB was trained on sentences (arXiv 2207.04672, section 5) and reads at most 1,024 pieces, each
# of one character at least.
MOST_CHARACTERS = 400

_BREAKS = re.compile(r"(\r\n|[\n\r\v\f\x1c-\x1e\x85\u2028\u2029])")

# The letter of an option, or a bullet, at the begin of a line.
_OPTION = re.compile(r"\s*(?:[-*•]\s+)?(?:[(（\[][A-Z][)）\]]|[A-Z][.):：](?=\s|$))?\s*")

# Characters that are not seen: controls, soft hyphen, marks of direction, zero-width signs. A joiner between letters
# belongs to the word.
_UNSEEN = (
    r"(?:[\x00-\x08\x0e-\x1b\x1f\x7f-\x84\x86-\x9f\xad\u061c\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff"
    r"\ufff9-\ufffb]|(?<!\w)[\u200c\u200d]|[\u200c\u200d](?!\w))+"
)
_EMOJI = (
    r"(?:[0-9#*]\ufe0f?\u20e3|[\U0001f000-\U0001faff\u2600-\u27bf\u2b00-\u2bff\u203c\u2049\u2122\u2139\u2190-\u21ff"
    r"\u231a-\u23ff\u25a0-\u25ff\u3030\u303d\u3297\u3299\ufe0f\u20e3\u200d\U000e0020-\U000e007f])+"
)
_ADDRESS = (
    r"(?:https?|ftp)://[^\s<>\"]*[^\s<>\".,;:!?)\]]",
    r"(?<![\w.+-])[\w.+-]{1,64}@[\w-]+(?:\.[\w-]+)+",
)
_MARKED = (
    r"</?[A-Za-z][\w.:-]{0,40}(?:\s[^<>\n]{0,80})?/?>",  # <image>, <Img>, </Img>, <0x0A>
    r"\{\{[^{}\n]{0,80}\}\}|\$?\{[^{}\n]{0,80}\}",  # {name}, {}, ${name}
    r"%\([A-Za-z_]\w*\)[sdf]|%[sdf]\b|\\[ntr\"\\]",
    r"\[[A-Z][A-Z_]+\]",  # a slot, as prompts.SLOT has it
    r"[\[(]\s*[-+]?\d+(?:\.\d+)?(?:\s*[,;]\s*[-+]?\d+(?:\.\d+)?)+\s*[\])]",  # a box or a point
    r"[(（\[][A-Z][)）\]]",  # the letter of an option
)
# A number, with the letters that belong to it: 3, -4.5, 2nd, 3x4, B12, 50 %.
_NUMBER = r"[-+−]?(?:(?<![A-Za-z])[A-Za-z]{1,20})?\d[A-Za-z0-9]*(?:[.,:/×-][A-Za-z]{0,20}\d[A-Za-z0-9]*)*(?:\s?[%‰°])?"
# Without one of these other characters there is nothing to protect; most texts have none.
_SPECIAL = re.compile(r"[^A-Za-z ,.'\"?!;:-]")


@functools.lru_cache(maxsize=8)
def _pattern(is_ascii: bool, has_address: bool) -> re.Pattern[str]:
    """Returns the pattern of what must survive; what a text cannot have is left out, which is four times as fast.

    The first that fits at a place counts.
    """
    if is_ascii and not has_address:
        plain = "|".join((*_MARKED, _NUMBER, _UNSEEN))
        return re.compile(rf"(?=[^A-Za-z ]|(?<![A-Za-z])[A-Za-z]{{1,20}}\d)(?:{plain})")
    return re.compile("|".join((_EMOJI, *_ADDRESS, *_MARKED, _NUMBER, _UNSEEN)))


def _spans(text: str) -> re.Pattern[str] | None:
    """Returns the pattern that finds what must survive in a text; None if there is nothing."""
    if _SPECIAL.search(text) is None:
        return None
    return _pattern(text.isascii(), "@" in text or "://" in text)


_LETTER = re.compile(r"[^\W\d_]")
_ONE_LETTER = re.compile(r"\W*[A-Z]\W*")
_MARK = re.compile(r"[\[［【〔]\s*(\d{1,6})\s*[\]］】〕]")

_END = re.compile("[.!?…。！？]")
# The end of a sentence: not behind a title, an initial or a number of a list.
_SENTENCE = re.compile(
    r"(?=[.!?…])(?<!\b[A-Z])(?<!\bMr)(?<!\bMs)(?<!\bDr)(?<!\bSt)(?<!\bNo)(?<!\bvs)(?<!\bMrs)(?<!e\.g)(?<!i\.e)"
    r"[.!?…]+[\"')\]”’»]*(\s+)(?=[\"'(\[“‘«¿¡]*[^\W_a-z])|(?<=[。！？])()(?=[^。！？」』”’）)\s])"
)


@dataclasses.dataclass(frozen=True)
class Cut:
    """A text as segments and what stands around them.

    Attributes:
      glue: What stays, one more than there are segments.
      segments: What is translated, in order.
    """

    glue: tuple[str, ...]
    segments: tuple[str, ...]

    def joined(self, segments: list[str]) -> str:
        """Returns the text with other segments in the place of its own."""
        return self.glue[0] + "".join(text + after for text, after in zip(segments, self.glue[1:], strict=True))


@functools.lru_cache(maxsize=1 << 12)  # instructions come again and again
def cut(text: str) -> Cut:
    """Returns a text as segments and glue; joined with its own segments it is the same text."""
    glue, segments, waiting = [], [], ""
    # A printable text has no line breaks.
    for number, line in enumerate((text,) if text.isprintable() else _BREAKS.split(text)):
        if number % 2:
            waiting += line
            continue
        begin = _OPTION.match(line)
        start = begin.end() if begin else 0
        waiting += line[:start]
        for sentence, space in _sentences(line[start:]):
            core = sentence.strip()
            if not _has_letters(core):
                waiting += sentence + space
                continue
            before, _, after = sentence.partition(core)
            glue.append(waiting + before)
            segments.append(core)
            waiting = after + space
    return Cut((*glue, waiting), tuple(segments))


def _sentences(line: str) -> list[tuple[str, str]]:
    """Returns (sentence, white space behind it) of a line; a long sentence is cut at spaces."""
    if _END.search(line, 0, len(line) - 1) is None and len(line) <= MOST_CHARACTERS:
        return [(line, "")]
    found, start = [], 0
    for end in _SENTENCE.finditer(line) if len(line) > 1 else ():
        space = end[1] or ""
        found.append((line[start : end.end() - len(space)], space))
        start = end.end()
    found.append((line[start:], ""))
    return [piece for sentence in found for piece in _short(*sentence)]


def _short(sentence: str, space: str) -> list[tuple[str, str]]:
    pieces = []
    while len(sentence) > MOST_CHARACTERS:
        at = max(sentence.rfind(sign, 1, MOST_CHARACTERS) for sign in (", ", "; ", "，", "；")) + 1
        at = at or sentence.rfind(" ", 1, MOST_CHARACTERS)
        at = at if at > 0 else MOST_CHARACTERS
        spans = _spans(sentence)
        for span in spans.finditer(sentence, 0, 2 * MOST_CHARACTERS) if spans else ():
            # Nothing that is to survive is cut in two.
            if span.start() < at < span.end():
                at = span.start() or span.end()
                break
        pieces.append((sentence[:at], ""))
        sentence = sentence[at:]
    return [*pieces, (sentence, space)]


def _has_letters(text: str) -> bool:
    """Returns whether something is left to translate: a single letter is an answer and no word."""
    first = text.partition(" ")[0]
    if len(first) > 1 and first.isalpha():  # a whole word: nothing that must survive begins with letters alone
        return True
    spans = _spans(text)
    bare = text if spans is None else spans.sub(" ", text)
    return _LETTER.search(bare) is not None and not _ONE_LETTER.fullmatch(bare)


@dataclasses.dataclass(frozen=True)
class Masked:
    """A segment as a translator gets it.

    Attributes:
      text: With `[1]`, `[2]`, ... in the place of what must survive.
      kept: What stood there, in order.
    """

    text: str
    kept: tuple[str, ...]


@functools.lru_cache(maxsize=1 << 12)
def mask(segment: str) -> Masked:
    """Returns a segment with marks."""
    spans = _spans(segment)
    if spans is None:
        return Masked(segment, ())
    kept: list[str] = []

    def mark(found: re.Match[str]) -> str:
        span = found[0]
        core = span.rstrip()
        kept.append(core)
        return f"[{len(kept)}]{span[len(core) :]}"

    text = spans.sub(mark, segment)
    if not kept and _MARK.search(segment) is None:
        return Masked(segment, ())
    return Masked(text, tuple(kept))


def restored(said: str, masked: Masked) -> str | None:
    """Returns a translation with its marks replaced; None if one is missing, comes twice or was never there."""
    if not masked.kept:
        return said if "[" not in said and said.isascii() or not _MARK.search(said) else None
    left = set(range(1, len(masked.kept) + 1))
    sound = True

    def put(found: re.Match[str]) -> str:
        nonlocal sound
        number = int(found[1])
        sound = sound and number in left
        left.discard(number)
        return masked.kept[number - 1] if sound else ""

    text = _MARK.sub(put, said)
    return text if sound and not left else None


@functools.lru_cache(maxsize=1 << 12)
def pieces(segment: str) -> Cut:
    """Returns a segment cut at everything that must survive, for translators that lose marks."""
    glue, found, waiting, start = [], [], "", 0
    spans = _spans(segment)
    for span in (*(spans.finditer(segment) if spans else ()), None):
        text = segment[start : span.start() if span else len(segment)]
        core = text.strip()
        if _LETTER.search(core):
            before, _, after = text.partition(core)
            glue.append(waiting + before)
            found.append(core)
            waiting = after
        else:
            waiting += text
        if span:
            waiting += span[0]
            start = span.end()
    return Cut((*glue, waiting), tuple(found))


def protected(text: str) -> list[str]:
    """Returns everything in a text that must survive, in order."""
    spans = _spans(text)
    return [span[0].strip() for span in spans.finditer(text)] if spans else []
