"""One picture or video -> pixels of the size that a vision tower reads, as its reference processor makes them.

Two fits: `stretch` resizes to a square, `crop` resizes the shorter side and cuts the middle out. Both are Pillow's own
bicubic on uint8, which the published processors use.
"""

import contextlib
import io
import struct
import zlib
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from m3it_jax import errors, schema
from m3it_jax.input_pipeline.pixels import bicubic, decoders
from m3it_jax.input_pipeline.pixels.decoders import Decoders

MAX_PIXELS = schema.MAX_PIXELS

# What Pillow 13's PNG and JPEG readers raise on damaged files, besides its own bomb error.
_DAMAGED = (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, OverflowError, struct.error, zlib.error)

# CHOICE: a picture longer than this many of its squares is cropped while it is resized; otherwise at most 96 MB are
# made for a tower of 1,000 pixels.
_MAX_SQUARES = 32

_ORIENTATION = 0x0112  # EXIF 2.32, section 4.6.4
_FIRST_SIDEWAYS = 5  # values from here on exchange rows and columns, same section
# Where Pillow 13 looks in a PNG for how it is to be turned (`Image.getexif`).
_TURNED_PNG = (b"eXIf", b"Raw profile type exif", b"XML:com.adobe.xmp")

# (height, width) of a picture, side of the square -> (height, width) that it is resized to; the middle of it is kept.
Fit = Callable[[tuple[int, int], int], tuple[int, int]]


class PictureError(errors.UserError):
    """A picture that cannot be used: no PNG or JPEG, too large, or damaged."""


def decode_image(
    data: bytes, size: int, fit: str = "stretch", *, by: Decoders = decoders.PILLOW, out: np.ndarray | None = None
) -> np.ndarray:
    """Returns an encoded picture as uint8 [size, size, 3] RGB: bicubic as Pillow does it.

    EXIF orientation is applied and transparent parts become white. A picture that has the size already is not touched.

    Args:
      data: A PNG or JPEG file.
      size: Side of the square, pixels.
      fit: A key of `FITS`.
      by: What decodes and resizes; the pixels are the same whatever it is.
      out: Array to write to; None makes one.

    Raises:
      PictureError: no PNG or JPEG, more than MAX_PIXELS by its header (nothing is decoded then), or damaged.
    """
    out = np.empty((size, size, 3), np.uint8) if out is None else out
    with decoded(data, by=by) as pixels:
        _write_square(pixels, out, fit=FITS[fit], resize=by.resize)
    return out


@contextlib.contextmanager
def decoded(data: bytes, *, by: Decoders = decoders.PILLOW) -> Iterator[Image.Image | np.ndarray]:
    """Gives the pixels of an encoded picture, upright and RGB on white; as uint8 [h, w, 3] by a faster decoder.

    Raises:
      PictureError: as `decode_image`; also where the pixels prove damaged while they are used.
    """
    with _opened(data) as image:
        yield _decoded(image, data, by.jpeg) if by.jpeg else _upright(image)


def upright_size(data: bytes) -> tuple[int, int]:
    """Returns (height, width) of an encoded picture as it is shown, from its header.

    Raises:
      PictureError: no PNG or JPEG, more than MAX_PIXELS, or a damaged header.
    """
    with _opened(data) as image:
        # A PNG may say at its end how it is to be turned, and Pillow decodes it all to look.
        says = image.format != "PNG" or any(name in data for name in _TURNED_PNG)
        is_turned = says and image.getexif().get(_ORIENTATION, 1) >= _FIRST_SIDEWAYS
        return (image.width, image.height) if is_turned else (image.height, image.width)


@contextlib.contextmanager
def _opened(data: bytes) -> Iterator[Image.Image]:
    """Gives an opened picture, of which nothing but the header was read.

    Raises:
      PictureError: it cannot be used; also for what goes wrong while it is.
    """
    try:
        with Image.open(io.BytesIO(data), formats=schema.PICTURE_FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                raise PictureError(
                    f"picture of {image.width} x {image.height} pixels is above the limit of {MAX_PIXELS}; shrink it"
                )
            yield image
    except UnidentifiedImageError as error:
        raise PictureError("picture is no readable PNG or JPEG; convert or replace it") from error
    except Image.DecompressionBombError as error:
        raise PictureError(f"picture is above the limit of {MAX_PIXELS} pixels; shrink it") from error
    except _DAMAGED as error:
        raise PictureError(f"picture is damaged or cut off ({error}); replace it") from error


def _decoded(image: Image.Image, data: bytes, decode_jpeg: decoders.DecodeJpeg) -> Image.Image | np.ndarray:
    """Returns the pixels of an opened picture, of a plain JPEG by the faster decoder, uint8 [h, w, 3] then.

    CMYK, a picture that is to be turned, and whatever the decoder is not sure of, are Pillow's.
    """
    if image.format == "JPEG" and image.mode in ("L", "RGB") and _ORIENTATION not in image.getexif():
        try:
            pixels = decode_jpeg(data)
        except ValueError:
            return _upright(image)
        if pixels.shape == (image.height, image.width, 3):
            return pixels
    return _upright(image)


def _upright(image: Image.Image) -> Image.Image:
    """Returns an opened picture decoded, turned as its EXIF says, as RGB on white."""
    image.load()
    if _ORIENTATION in image.getexif():
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits of grey: Pillow's own conversion would clip instead of scaling
        image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
    if image.has_transparency_data:  # before it is resized, so that hidden colours do not bleed into the edges
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _write_square(
    pixels: Image.Image | np.ndarray, out: np.ndarray, *, fit: Fit, resize: decoders.Resize | None
) -> None:
    """Writes the square of a decoded picture into `out`, uint8 [side, side, 3]."""
    side = len(out)
    have = pixels.shape[:2] if isinstance(pixels, np.ndarray) else pixels.size[::-1]
    whole = fit((have[0], have[1]), side)
    if resize is not None and have != (side, side):
        resize(np.asarray(pixels), whole, out)
    elif resize is not None or max(whole) > _MAX_SQUARES * side:
        array = np.asarray(pixels)
        out[:] = array if have == (side, side) else bicubic.middle(array, whole, side=side)
    else:
        image = Image.fromarray(pixels) if isinstance(pixels, np.ndarray) else pixels
        if have != whole:
            image = image.resize(whole[::-1], Image.Resampling.BICUBIC)
        top, left = ((each - side) // 2 for each in whole)
        out[:] = np.asarray(image)[top : top + side, left : left + side]


def _stretch(have: tuple[int, int], side: int) -> tuple[int, int]:
    del have
    return side, side


def _crop(have: tuple[int, int], side: int) -> tuple[int, int]:
    """As CLIPImageProcessor of transformers: the shorter side becomes `side`.

    All of a long strip would become as many squares as it is longer than wide: only the middle one is computed there.
    """
    height, width = have
    shorter, longer = sorted(have)
    longer = side * longer // shorter
    return (longer, side) if width <= height else (side, longer)


# How a picture comes to be a square (`ViTConfig.image_fit`).
FITS: dict[str, Fit] = {"stretch": _stretch, "crop": _crop}


def sample_frames(num_total: int, num_frames: int = 8) -> np.ndarray:
    """Returns which of `num_total` frames to take: the centres of equal segments, rising, int64 [num_frames].

    The default is the paper's 8 frames (arXiv 2306.04387, section 4.2). A shorter video gives some frames twice.

    Raises:
      ValueError: there is no frame.
    """
    if num_total < 1:
        raise ValueError(f"a video of {num_total} frames has nothing to sample")
    return ((2 * np.arange(num_frames) + 1) * num_total) // (2 * num_frames)
