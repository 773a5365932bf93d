"""Which faster libraries may stand in for Pillow: those that are installed and give its pixels, bit for bit.

simplejpeg calls the decoder of libjpeg-turbo that Pillow calls too, without Pillow's copies; `compiled_bicubic` does
Pillow's resampling in wide instructions. Both are compared with Pillow once in a process; the one that differs (another
libjpeg, another order of operations in a build of Pillow) or is not installed is left out. So pixels never depend on
what is installed, only the time does.
"""

import dataclasses
import functools
import io
from collections.abc import Callable

import numpy as np
from PIL import Image

# (data) -> uint8 [h, w, 3] of a JPEG; ValueError where Pillow is to decide, as of a damaged one.
DecodeJpeg = Callable[[bytes], np.ndarray]
# (pixels uint8 [h, w, 3], (height, width) of the whole, out uint8 [side, side, 3]): the middle of the resized picture.
Resize = Callable[[np.ndarray, tuple[int, int], np.ndarray], None]


@dataclasses.dataclass(frozen=True)
class Decoders:
    """What stands in for Pillow; None where Pillow itself is used.

    Attributes:
      jpeg: Decodes JPEGs of grey or YCbCr.
      resize: Resizes.
    """

    jpeg: DecodeJpeg | None = None
    resize: Resize | None = None

    def names(self) -> str:
        """Returns what decodes and resizes, for a person."""
        return f"{'simplejpeg' if self.jpeg else 'Pillow'} and {'numba' if self.resize else 'Pillow'}"


PILLOW = Decoders()


@functools.cache
def fastest() -> Decoders:
    """Returns the libraries that are installed and equal to Pillow; the first call compiles and compares."""
    jpeg, resize = _simplejpeg(), _numba()
    return Decoders(
        jpeg=jpeg if jpeg and _decodes_alike(jpeg) else None,
        resize=resize if resize and _resizes_alike(resize) else None,
    )


def _simplejpeg() -> DecodeJpeg | None:
    try:
        import simplejpeg
    except ImportError:
        return None

    def decode(data: bytes) -> np.ndarray:
        # Strict: a JPEG at which the library wonders is Pillow's to refuse or to mend.
        return simplejpeg.decode_jpeg(data, "RGB", fastdct=False, fastupsample=False, strict=True)

    return decode


def _numba() -> Resize | None:
    try:
        from m3it_jax.input_pipeline.pixels import compiled_bicubic
    except (ImportError, RuntimeError):  # not installed, or no folder in which it may keep what it compiles
        return None
    return compiled_bicubic.resize


def _noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(height * width).integers(0, 256, (height, width, 3), np.uint8)


def _decodes_alike(decode: DecodeJpeg) -> bool:
    """Returns whether JPEGs come out as Pillow has them: full and halved colours, baseline and progressive, grey."""
    kinds = ({"subsampling": 0}, {"subsampling": 2}, {"subsampling": 2, "progressive": True}, {"quality": 30})
    for number, options in enumerate(kinds):
        image = Image.fromarray(_noise(37 + number, 61))
        buffer = io.BytesIO()
        (image.convert("L") if number == 3 else image).save(buffer, "JPEG", **options)
        with Image.open(buffer) as opened:
            if not np.array_equal(decode(buffer.getvalue()), np.asarray(opened.convert("RGB"))):
                return False
    return True


def _resizes_alike(resize: Resize) -> bool:
    """Returns whether pictures come out as Pillow has them, smaller, larger, one side of each, and strips."""
    shapes = ((97, 41, 32), (40, 131, 64), (33, 20, 48), (300, 7, 24), (1_500, 13, 24))
    for height, width, side in shapes:
        pixels, made = _noise(height, width), np.empty((side, side, 3), np.uint8)
        resize(pixels, (side, side), made)
        wanted = Image.fromarray(pixels).resize((side, side), Image.Resampling.BICUBIC)
        if not np.array_equal(made, np.asarray(wanted)):
            return False
    return True
