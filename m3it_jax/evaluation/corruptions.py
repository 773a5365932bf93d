"""Pictures made worse in six ways and five strengths: the same picture is always made worse in the same way.

The ways and their strengths are those of ImageNet-C (D. Hendrycks and T. Dietterich, arXiv 1903.12261, and the program
that made it), which holds pictures of 224 x 224 pixels. A larger picture is made smaller first, until its shorter side
has 224 pixels, and a blur is as wide as that side asks, so that a strength means the same for pictures of every size.
"""

import io
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageFilter

from m3it_jax import rng
from m3it_jax.input_pipeline.pixels import preprocessing

STRENGTHS = (1, 2, 3, 4, 5)
SIDE = 224  # pixels of the shorter side that the strengths are made for

_Chance = np.random.Generator


def _noise(image: Image.Image, amount: float, chance: _Chance) -> Image.Image:
    pixels = np.asarray(image, np.float32) / 255
    return _from_shares(pixels + chance.normal(scale=amount, size=pixels.shape).astype(np.float32))


def _blur(image: Image.Image, amount: float, chance: _Chance) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(amount * min(image.size) / SIDE))


def _compressed(image: Image.Image, amount: float, chance: _Chance) -> Image.Image:
    file = io.BytesIO()
    image.save(file, "JPEG", quality=int(amount))
    return Image.open(file).convert("RGB")


def _flat(image: Image.Image, amount: float, chance: _Chance) -> Image.Image:
    pixels = np.asarray(image, np.float32) / 255
    mean = pixels.mean(axis=(0, 1), keepdims=True)
    return _from_shares((pixels - mean) * amount + mean)


def _coarse(image: Image.Image, amount: float, chance: _Chance) -> Image.Image:
    small = (max(1, int(image.width * amount)), max(1, int(image.height * amount)))
    return image.resize(small, Image.Resampling.BOX).resize(image.size, Image.Resampling.NEAREST)


def _bright(image: Image.Image, amount: float, chance: _Chance) -> Image.Image:
    hsv = np.asarray(image.convert("HSV")).astype(np.int32)
    hsv[..., 2] = np.minimum(hsv[..., 2] + round(255 * amount), 255)
    return Image.fromarray(hsv.astype(np.uint8), "HSV").convert("RGB")


# Name -> (how, its amount at strengths 1 to 5).
CORRUPTIONS: dict[str, tuple[Callable[[Image.Image, float, _Chance], Image.Image], tuple[float, ...]]] = {
    "noise": (_noise, (0.08, 0.12, 0.18, 0.26, 0.38)),  # standard deviation, of the full range
    "blur": (_blur, (1, 2, 3, 4, 6)),  # standard deviation, pixels of 224
    "jpeg": (_compressed, (25, 18, 15, 10, 7)),  # quality
    "contrast": (_flat, (0.4, 0.3, 0.2, 0.1, 0.05)),  # share that is left
    "pixels": (_coarse, (0.6, 0.5, 0.4, 0.3, 0.25)),  # share of the pixels of a side
    "brightness": (_bright, (0.1, 0.2, 0.3, 0.4, 0.5)),  # added, of the full range
}


def corruption_of(name: str, *, seed: int) -> str:
    """Returns the way in which the pictures of a record are made worse: one of `CORRUPTIONS`, by its id and the seed.

    It is the same at every strength, so that strengths differ in nothing else.
    """
    return list(CORRUPTIONS)[int(rng.generator(seed, "corruption", name).integers(len(CORRUPTIONS)))]


def corrupted(image: bytes, corruption: str, *, strength: int, seed: int, name: str) -> bytes:
    """Returns a picture made worse, as PNG, upright and on white as a model is shown it.

    Args:
      image: An encoded picture.
      corruption: A key of `CORRUPTIONS`.
      strength: One of `STRENGTHS`.
      seed: Of the noise.
      name: Of the picture; noise differs between names.

    Raises:
      UserError: it is no picture, damaged, or its header asks for more pixels than a record may have.
    """
    change, amounts = CORRUPTIONS[corruption]
    chance = rng.generator(seed, "corrupted", corruption, strength, name)
    file = io.BytesIO()
    with preprocessing.decoded(image) as pixels:
        picture = _reduced(Image.fromarray(np.asarray(pixels)))
    change(picture, amounts[strength - 1], chance).save(file, "PNG")
    return file.getvalue()


def _reduced(picture: Image.Image) -> Image.Image:
    """Returns a picture whose shorter side has at most `SIDE` pixels."""
    share = SIDE / min(picture.size)
    if share >= 1:
        return picture
    return picture.resize((round(picture.width * share), round(picture.height * share)), Image.Resampling.BICUBIC)


def _from_shares(pixels: np.ndarray) -> Image.Image:
    return Image.fromarray((np.clip(pixels, 0, 1) * 255 + 0.5).astype(np.uint8), "RGB")
