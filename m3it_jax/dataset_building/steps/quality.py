"""Checks of records, each with a reason code."""

import io
import re
from collections.abc import Iterator

from PIL import Image

from m3it_jax import prompts, schema
from m3it_jax.dataset_building.media import jpeg

MAX_PIXELS = schema.MAX_PIXELS
FORMATS = ("PNG", "JPEG")


def picture_problem(data: bytes) -> tuple[str, str] | None:
    """Returns (reason code, explanation) if an encoded picture cannot be used, else None.

    The size is read from the header, before a pixel is decoded.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as picture:
            width, height = picture.size
            if width * height > MAX_PIXELS:
                return "picture-too-large", f"has {width} x {height} pixels, at most {MAX_PIXELS} are allowed"
            if picture.format != "JPEG" or not jpeg.is_ordinary(data):
                picture.load()
    except Image.DecompressionBombError as error:
        return "picture-too-large", str(error)
    except Image.UnidentifiedImageError:  # its own text names an address in memory, another one in each run
        return "picture-unreadable", "cannot be decoded: is no PNG or JPEG, or its header is damaged"
    except Exception as error:  # Pillow's decoders raise whatever they meet: OSError, SyntaxError, struct.error, ...
        return "picture-unreadable", f"cannot be decoded: {error}"
    return None


# How an answer begins when a model declined instead of answering, and what only a model says of itself. Seen by users
# of the released data (OpenGVLab/Ask-Anything, video_chat2/DATA.md). A "sorry" further on may be read off a sign.
APOLOGY = re.compile(
    r"^\W*(?:(?:I'm|I am|we are|we're)\s+(?:so |very |really )?)?(?:sorry|afraid)\b|^\W*(?:I|we) apologi[sz]e\b"
    r"|^\W*(?:I|we) (?:cannot|can't|am unable to|are unable to) (?:see|view|answer|provide|identify|determine)\b"
    r"|\bas an? (?:AI|large language|language)\b|\bAI (?:language )?model\b"
    r"|^\W*(?:很|非常|十分)?(?:抱歉|对不起)|作为一个?(?:人工智能|大?语言模型|AI)",
    re.IGNORECASE,
)


def apologises(text: str) -> bool:
    """Returns whether a text declines to answer instead of answering."""
    return APOLOGY.search(text) is not None


def is_mojibake(text: str) -> bool:
    """Returns whether a text is UTF-8 that was read as Windows-1252 or Latin-1, or holds the sign of a lost one."""
    if "\ufffd" in text:
        return True
    for run in _FOREIGN.findall(text):
        for codec in ("cp1252", "latin-1"):
            try:
                run.encode(codec).decode("utf-8")
            except UnicodeError:
                continue
            return True
    return False


# Two or more characters in a row that UTF-8's bytes above 127 become in Windows-1252 or Latin-1.
_FOREIGN = re.compile(
    "[\u00c2-\u00f4][\u0080-\u00bf\u0152\u0153\u0160\u0161\u0178\u017d\u017e\u0192\u02c6\u02dc\u2013-\u203a\u20ac\u2122]+"
)


def text_problems(instance: schema.Instance) -> Iterator[tuple[str, str]]:
    """Yields (reason code, explanation) for each rule about a record's texts that it breaks; pictures are not read.

    What a reviewer has admitted (`meta.admitted`, a list of reasons) is no fault any more.
    """
    admitted = instance.meta.get("admitted", ())
    yield from (problem for problem in _text_problems(instance) if problem[0] not in admitted)


def _text_problems(instance: schema.Instance) -> Iterator[tuple[str, str]]:
    options = instance.meta.get("options", ())
    if options and not any(option in instance.outputs for option in options):
        yield "answer-not-an-option", f"outputs {instance.outputs[:80]!r} names none of the {len(options)} options"
    *earlier, own = schema.turns_of(instance)
    for at, turn in [*((f"meta.turns[{number}].", turn) for number, turn in enumerate(earlier)), ("", own)]:
        # What a row put into a slot may look like one itself.
        if not instance.meta.get("slots") and (slot := prompts.SLOT.search(turn.instruction)):
            yield "broken-slot", f"{at}instruction still holds the slot {slot[0]}"
        # In a dialogue between people an apology is an answer.
        if instance.task != "generation" and apologises(turn.outputs):
            yield "apology", f"{at}outputs {turn.outputs[:80]!r} declines to answer"
        for name in ("instruction", "inputs", "outputs"):
            if is_mojibake(getattr(turn, name)):
                yield "mojibake", f"{at}{name} {getattr(turn, name)[:80]!r} was decoded with the wrong encoding"
    if is_mojibake(system := instance.meta.get("system", "")):
        yield "mojibake", f"meta.system {system[:80]!r} was decoded with the wrong encoding"


def problems(instance: schema.Instance) -> Iterator[tuple[str, str]]:
    """Yields (reason code, explanation) for each rule that the record breaks, its pictures' decoding included."""
    broken = list(schema.problems(instance))
    yield from broken
    if broken:
        return
    yield from text_problems(instance)
    for number, image in enumerate(instance.images):
        found = picture_problem(image)
        if found:
            yield found[0], f"images[{number}] {found[1]}"
