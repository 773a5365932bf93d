"""One picture or video -> pixels of the size that a vision tower reads, as its reference processor makes them.

Two fits: `stretch` resizes to a square, `crop` resizes the shorter side and cuts the middle out. Both are Pillow's own
bicubic on uint8, which the published processors use.
"""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from m3it_jax import errors, schema
from m3it_jax.input_pipeline import bicubic

MAX_PIXELS = schema.MAX_PIXELS

# What Pillow 13's PNG and JPEG readers raise on damaged files, besides its own bomb error.
_DAMAGED = (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, OverflowError, struct.error, zlib.error)

# CHOICE: a picture longer than this many of its squares is cropped while it is resized; otherwise at most 96 MB are
# made for a tower of 1,000 pixels.
_MAX_SQUARES = 32

_ORIENTATION = 0x0112  # EXIF 2.32, section 4.6.4


def decode_image(data: bytes, size: int, fit: str = "stretch") -> np.ndarray:
    """Returns an encoded picture as uint8 [size, size, 3] RGB: bicubic as Pillow does it.

    EXIF orientation is applied and transparent parts become white. A picture that has the size already is not touched.

    Args:
      data: A PNG or JPEG file.
      size: Side of the square, pixels.
      fit: A key of `FITS`.

    Raises:
      UserError: no PNG or JPEG, more than MAX_PIXELS by its header (nothing is decoded then), or damaged.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
            if image.width * image.height > MAX_PIXELS:
                raise errors.UserError(
                    f"picture of {image.width} x {image.height} pixels is above the limit of {MAX_PIXELS}; shrink it"
                )
            image.load()
            return np.asarray(_square(image, size, FITS[fit]))
    except UnidentifiedImageError as error:
        raise errors.UserError("picture is no readable PNG or JPEG; convert or replace it") from error
    except Image.DecompressionBombError as error:
        raise errors.UserError(f"picture is above the limit of {MAX_PIXELS} pixels; shrink it") from error
    except _DAMAGED as error:
        raise errors.UserError(f"picture is damaged or cut off ({error}); replace it") from error


def _square(image: Image.Image, size: int, fit: Callable[[Image.Image, int], Image.Image]) -> Image.Image:
    """Returns a decoded picture as RGB of size x size pixels."""
    if _ORIENTATION in image.getexif():
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits of grey: Pillow's own conversion would clip instead of scaling
        image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
    if image.has_transparency_data:  # before it is resized, so that hidden colours do not bleed into the edges
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, (255, 255, 255, 255)), image)
    return fit(image if image.mode == "RGB" else image.convert("RGB"), size)


def _stretch(image: Image.Image, size: int) -> Image.Image:
    if image.size == (size, size):
        return image
    return image.resize((size, size), Image.Resampling.BICUBIC)


def _crop(image: Image.Image, size: int) -> Image.Image:
    """Returns the middle of a picture whose shorter side has become `size` (CLIPImageProcessor of transformers).

    All of a long strip would become as many squares as it is longer than wide: only the middle one is computed there.
    """
    shorter, longer = sorted(image.size)
    longer = size * longer // shorter
    width, height = (size, longer) if image.width <= image.height else (longer, size)
    if longer > _MAX_SQUARES * size:
        return Image.fromarray(bicubic.middle(np.asarray(image), (height, width), side=size))
    if image.size != (width, height):
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    left, top = (width - size) // 2, (height - size) // 2
    return image.crop((left, top, left + size, top + size))


# How a picture comes to be a square (`ViTConfig.image_fit`).
FITS: dict[str, Callable[[Image.Image, int], Image.Image]] = {"stretch": _stretch, "crop": _crop}


def sample_frames(num_total: int, num_frames: int = 8) -> np.ndarray:
    """Returns which of `num_total` frames to take: the centres of equal segments, rising, int64 [num_frames].

    The default is the paper's 8 frames (arXiv 2306.04387, section 4.2). A shorter video gives some frames twice.

    Raises:
      ValueError: there is no frame.
    """
    if num_total < 1:
        raise ValueError(f"a video of {num_total} frames has nothing to sample")
    return ((2 * np.arange(num_frames) + 1) * num_total) // (2 * num_frames)
