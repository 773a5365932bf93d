"""Copies of pictures, changed as copies are, planted to measure what the radar finds of them."""

import io
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from PIL import Image

from m3it_jax import rng, schema
from m3it_jax.evaluation import picture_hashes


def _png(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "PNG")
    return file.getvalue()


def _jpeg(picture: Image.Image) -> bytes:
    file = io.BytesIO()
    picture.save(file, "JPEG", quality=30)  # CHOICE: worse than any site keeps pictures
    return file.getvalue()


def _resized(picture: Image.Image, chance: np.random.Generator) -> bytes:
    share = chance.choice((0.5, 0.7, 1.5, 2.0))
    return _png(picture.resize((max(8, round(picture.width * share)), max(8, round(picture.height * share)))))


def _cropped(share: float) -> Callable[[Image.Image, np.random.Generator], bytes]:
    """Returns the function that cuts a window of `share` of each side out, anywhere."""

    def crop(picture: Image.Image, chance: np.random.Generator) -> bytes:
        width, height = (max(1, round(side * share)) for side in picture.size)
        left = int(chance.integers(picture.width - width + 1))
        top = int(chance.integers(picture.height - height + 1))
        return _png(picture.crop((left, top, left + width, top + height)))

    return crop


CHANGES: Mapping[str, Callable[[Image.Image, np.random.Generator], bytes]] = {
    "resized": _resized,
    "recompressed": lambda picture, chance: _jpeg(picture),
    "flipped": lambda picture, chance: _png(picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
    "cropped by 5 %": _cropped(0.95),
    "cropped by 10 %": _cropped(0.9),
    "flipped and recompressed": lambda picture, chance: _jpeg(picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)),
}


def recall(images: Sequence[bytes], *, seed: int) -> tuple[dict[str, float], float]:
    """Returns ({change: share of the changed copies that are found}, share of pairs of different ones that are, too).

    Args:
      images: Different pictures; those without contrast are left out.
      seed: Of the changes.
    """
    known = [
        (image, one) for image, one in ((image, picture_hashes.small(image)) for image in images) if one.has_contrast
    ]
    index = picture_hashes.Index([one for _, one in known])
    shares, strangers, pairs = {}, 0, 0
    for name, change in CHANGES.items():
        chance = rng.generator(seed, "planted", name)
        copies = []
        for image, _ in known:
            with Image.open(io.BytesIO(image), formats=schema.PICTURE_FORMATS) as opened:
                copies.append(picture_hashes.small(change(opened.convert("RGB"), chance)))
        matches = list(index.matches(copies))
        shares[name] = len({match.asked for match in matches if match.asked == match.known}) / max(1, len(known))
        strangers += sum(match.asked != match.known for match in matches)
        pairs += len(known) * (len(known) - 1)
    return shares, strangers / max(1, pairs)
