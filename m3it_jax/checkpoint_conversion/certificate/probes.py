"""Pictures of awkward kinds, which a certificate shows to both sides."""

import io

import numpy as np
from PIL import Image


def pictures() -> dict[str, bytes]:
    """Returns encoded pictures by name; every run gets the same bytes."""
    draw = np.random.default_rng(0)
    shapes = {
        "odd size": (213, 317, 3),
        "tall": (901, 40, 3),
        "wide": (33, 640, 3),
        "tiny": (3, 5, 3),
        "one pixel": (1, 1, 3),
        "noise": (480, 640, 3),
    }
    images = {name: Image.fromarray(_smooth(draw, shape)) for name, shape in shapes.items()}
    images["noise"] = Image.fromarray(draw.integers(0, 256, shapes["noise"], np.uint8))
    images["grey"] = Image.fromarray(_smooth(draw, (131, 97, 1))[..., 0])
    images["palette"] = Image.fromarray(_smooth(draw, (120, 91, 3))).quantize(37)
    images["opaque RGBA"] = Image.fromarray(_smooth(draw, (77, 150, 3))).convert("RGBA")
    images["black and white"] = Image.fromarray(_smooth(draw, (64, 90, 1))[..., 0]).convert("1")
    encoded = {}
    for name, image in images.items():
        stream = io.BytesIO()
        image.save(stream, "PNG")
        encoded[name] = stream.getvalue()
    stream = io.BytesIO()
    images["odd size"].save(stream, "JPEG", quality=90)
    return {**encoded, "JPEG": stream.getvalue()}


def _smooth(draw: np.random.Generator, shape: tuple[int, int, int]) -> np.ndarray:
    """Returns a picture of waves with a little noise, uint8 [height, width, channels]."""
    height, width, channels = shape
    rows, columns = np.mgrid[:height, :width]
    waves = [128 + 100 * np.sin(rows / (9 + 5 * band) + columns / (14 - 3 * band) + band) for band in range(channels)]
    noisy = np.stack(waves, axis=-1) + draw.normal(scale=8, size=shape)
    return noisy.clip(0, 255).astype(np.uint8)
