"""Checks of records, each with a reason code."""

import io
from collections.abc import Iterator

from PIL import Image

from m3it_jax import prompts, schema
from m3it_jax.dataset_building.media import jpeg
from m3it_jax.dataset_building.steps import instructions, mojibake, refusals

MAX_PIXELS = schema.MAX_PIXELS


def picture_problem(data: bytes) -> tuple[str, str] | None:
    """Returns (reason code, explanation) if an encoded picture cannot be used, else None.

    The size is read from the header, before a pixel is decoded.
    """
    try:
        with Image.open(io.BytesIO(data), formats=schema.PICTURE_FORMATS) as picture:
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


def unfilled_slot(instruction: str) -> str:
    """Returns a slot that an instruction of the bank has and that no text was put into, such as `[HYPO]`, or nothing.

    Other words in brackets, `[MASK]` or `[EXIT]`, are what the text is about. So may be one slot of several: `[TARGET]`
    is broken beside `[SOURCE]`, as the bank has them, or in an instruction of the bank.
    """
    if "[" not in instruction:
        return ""
    held = set(prompts.SLOT.findall(instruction))
    for slots, patterns in instructions.slotted():
        if held >= slots or (held & slots and any(pattern.fullmatch(instruction) for pattern in patterns)):
            return f"[{min(held & slots)}]"
    return ""


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
        if not instance.meta.get("slots") and (slot := unfilled_slot(turn.instruction)):
            yield "broken-slot", f"{at}instruction still holds the slot {slot}"
        # In a dialogue between people an apology is an answer.
        if instance.task != "generation" and refusals.is_refusal(turn.outputs):
            yield "apology", f"{at}outputs {turn.outputs[:80]!r} declines to answer"
        for name in ("instruction", "inputs", "outputs"):
            if mojibake.is_mojibake(getattr(turn, name)):
                yield "mojibake", f"{at}{name} {getattr(turn, name)[:80]!r} was decoded with the wrong encoding"
    if mojibake.is_mojibake(system := instance.meta.get("system", "")):
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
