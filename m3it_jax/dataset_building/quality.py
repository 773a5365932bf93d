"""Checks of records, each with a reason code."""

import io
from collections.abc import Iterator

from PIL import Image

from m3it_jax import prompts, schema

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
            picture.load()
    except Image.DecompressionBombError as error:
        return "picture-too-large", str(error)
    except Image.UnidentifiedImageError:  # its own text names an address in memory, another one in each run
        return "picture-unreadable", "cannot be decoded: is no PNG or JPEG, or its header is damaged"
    except Exception as error:  # Pillow's decoders raise whatever they meet: OSError, SyntaxError, struct.error, ...
        return "picture-unreadable", f"cannot be decoded: {error}"
    return None


def text_problems(instance: schema.Instance) -> Iterator[tuple[str, str]]:
    """Yields (reason code, explanation) for each rule about a record's texts that it breaks; pictures are not read."""
    options = instance.meta.get("options", ())
    if options and not any(option in instance.outputs for option in options):
        yield "answer-not-an-option", f"outputs {instance.outputs[:80]!r} names none of the {len(options)} options"
    if slot := prompts.SLOT.search(instance.instruction):
        yield "broken-slot", f"instruction still holds the slot {slot[0]}"


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
