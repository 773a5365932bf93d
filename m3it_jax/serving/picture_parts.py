"""Pictures of a request -> pictures of the model: sizes are read before anything is decoded, formats from bytes."""

import dataclasses
import io
from collections.abc import Callable, Collection, Sequence

import pybase64
from PIL import Image

from m3it_jax import errors, schema
from m3it_jax.generation import pictures
from m3it_jax.generation.sampler import Sampler
from m3it_jax.llm_client import picture_fetch
from m3it_jax.serving.api_errors import ApiError, invalid

# What a picture may be, by its first bytes; what it is called in the request decides nothing, since clients write
# image/jpeg over any of them. SVG, PDF and whatever else Pillow has a reader for are never opened.
_BEGINS = {"PNG": schema.PICTURE_BEGINS[:1], "JPEG": schema.PICTURE_BEGINS[1:]}
_FORMATS = ("PNG", "JPEG", "WEBP")
MOST_PICTURES = 64  # CHOICE: of one request; no model here has room for more
MOST_PIXELS = 2 * schema.MAX_PIXELS  # CHOICE: of all pictures of a request together: seconds of a core, 320 MB at once


def reader(hosts: Collection[str], most_bytes: int) -> Callable[[str, str], pictures.Picture]:
    """Returns what reads the pictures of one request: (address, its name) -> picture.

    Args:
      hosts: From which pictures are fetched; none: no address is ever opened.
      most_bytes: Of all that is fetched.
    """
    left = most_bytes

    def read(url: str, name: str) -> pictures.Picture:
        nonlocal left
        if not hosts or url[:5].lower() == "data:":
            return of_url(url, name)
        try:
            data = picture_fetch.fetch(url, hosts=hosts, most_bytes=left)
        except errors.UserError as error:
            raise invalid(f"{name}: {error}", name, "invalid_image_url") from error
        left -= len(data)
        return _picture(data, name)

    return read


def of_url(url: str, name: str) -> pictures.Picture:
    """Returns the picture in a data: URL, not decoded yet.

    Args:
      url: `data:image/png;base64,...`; the media type may be any of the formats.
      name: What to call the picture in a message.

    Raises:
      ApiError: another kind of address, no base64, or no PNG, JPEG or WebP.
    """
    if not url[:5].lower() == "data:":
        raise invalid(
            f"{name}: only data: URLs are taken, as data:image/png;base64,...; this server opens no address",
            name,
            "invalid_image_url",
        )
    head, comma, body = url.partition(",")
    words = head[5:].lower().split(";")
    if not comma or words[-1] != "base64" or not words[0].startswith("image/"):
        raise invalid(f"{name}: must be data:image/png;base64,... with a PNG, JPEG or WebP", name, "invalid_image_url")
    try:
        data = pybase64.b64decode(body, validate=True)
    except (ValueError, TypeError) as error:
        raise invalid(f"{name}: is no base64", name, "invalid_base64") from error
    return _picture(data, name)


def _picture(data: bytes, name: str) -> pictures.Picture:
    if kind_of(data) is None:
        raise invalid(f"{name}: is no PNG, JPEG or WebP; convert it", name, "invalid_image_format")
    return pictures.Picture(pictures.key_of(data), name, data)


def kind_of(data: bytes) -> str | None:
    """Returns which format bytes begin as, None for any other."""
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "WEBP"
    return next((kind for kind, begins in _BEGINS.items() if data.startswith(begins)), None)


def decoded(shown: Sequence[pictures.Picture], size: int, fit: str) -> list[pictures.Picture]:
    """Returns the pictures decoded and resized; all of their sizes are read from their headers first.

    Raises:
      ApiError: one is damaged, or they are too large.
    """
    _check_pixels(shown)
    return [_decoded(picture, size, fit) for picture in shown]


def cut(shown: Sequence[pictures.Picture], turns: Sequence[schema.Turn], sampler: Sampler) -> list[pictures.Picture]:
    """Returns the pictures of turns, each with how the model has it cut into tiles; nothing is decoded.

    Raises:
      ApiError: one is damaged, or they are too large.
    """
    if sampler.layout.tiling.most == 1:
        return list(shown)
    _check_pixels(shown)
    try:
        return list(sampler.cut([_still(picture) for picture in shown], turns))
    except errors.UserError as error:
        raise invalid(f"{shown[0].name}: a picture cannot be decoded", shown[0].name, "invalid_image") from error


def _check_pixels(shown: Sequence[pictures.Picture]) -> None:
    """Refuses pictures that are too large together, by their headers; the parts of one count once (ApiError)."""
    total = 0
    for picture in {id(picture.content): picture for picture in shown}.values():
        total += _num_pixels(picture)
        if total > MOST_PIXELS:
            raise ApiError(
                413,
                f"{picture.name}: the pictures have more than {MOST_PIXELS:,} pixels in all; shrink them",
                param=picture.name,
                code="image_too_large",
            )


def _num_pixels(picture: pictures.Picture) -> int:
    try:
        with Image.open(io.BytesIO(bytes(picture.content)), formats=_FORMATS) as image:
            count = image.width * image.height
    except Image.DecompressionBombError:  # above Pillow's own limit, which is higher than ours
        count = schema.MAX_PIXELS + 1
    except (OSError, EOFError, SyntaxError, ValueError, TypeError) as error:
        raise invalid(f"{picture.name}: the picture is damaged", picture.name, "invalid_image") from error
    if count > schema.MAX_PIXELS:
        message = f"{picture.name}: has more than {schema.MAX_PIXELS:,} pixels; shrink it"
        raise ApiError(413, message, param=picture.name, code="image_too_large")
    return count


def _still(picture: pictures.Picture) -> pictures.Picture:
    """Returns the picture as PNG or JPEG, which the model's own reader takes."""
    data = bytes(picture.content)
    return (
        dataclasses.replace(picture, content=pictures.read([data])[0].content) if kind_of(data) == "WEBP" else picture
    )


def _decoded(picture: pictures.Picture, size: int, fit: str) -> pictures.Picture:
    try:
        return _still(picture).decoded(size, fit)
    except errors.UserError as error:
        raise invalid(f"{picture.name}: the picture cannot be decoded", picture.name, "invalid_image") from error
