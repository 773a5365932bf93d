"""Pictures of odd sizes and modes, the same wherever they are made: what preprocessing is compared on."""

import numpy as np
from PIL import Image

SIDE = 28  # a multiple of a patch of 14, as the towers' sides are


# Name of a picture -> most tiles into which it is cut where that is compared.
TILED = {"wide": 12, "tall": 6, "square": 4, "odd": 4, "line": 4, "noise": 2, "grey": 5, "palette": 3, "cmyk": 7}


def _smooth(width: int, height: int, channels: int, seed: int) -> np.ndarray:
    """Returns uint8 [h, w, c]: waves and a little noise, as a photograph has both."""
    chance = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    waves = [
        np.sin(rows * chance.uniform(0.01, 0.3) + columns * chance.uniform(0.01, 0.3) + chance.uniform(0, 6))
        for _ in range(channels)
    ]
    return (
        (127.5 + 110 * np.stack(waves, axis=-1) + chance.normal(0, 4, (height, width, channels)))
        .clip(0, 255)
        .astype(np.uint8)
    )


def make() -> dict[str, Image.Image]:
    """Returns name -> picture."""
    chance = np.random.default_rng(3)
    alpha = _smooth(90, 61, 4, seed=8)
    alpha[:20, :, 3], alpha[40:, :, 3] = 0, 255
    palette = Image.fromarray(_smooth(77, 101, 3, seed=9)).quantize(32)
    return {
        "wide": Image.fromarray(_smooth(331, 97, 3, seed=1)),
        "tall": Image.fromarray(_smooth(53, 211, 3, seed=2)),
        "small": Image.fromarray(_smooth(19, 23, 3, seed=3)),
        "square": Image.fromarray(_smooth(300, 300, 3, seed=4)),
        "same": Image.fromarray(_smooth(SIDE, SIDE, 3, seed=5)),
        "odd": Image.fromarray(_smooth(43, 41, 3, seed=6)),
        "line": Image.fromarray(_smooth(500, 3, 3, seed=7)),
        "noise": Image.fromarray(chance.integers(0, 256, (67, 129, 3), np.uint8)),
        "grey": Image.fromarray(_smooth(88, 130, 1, seed=10)[..., 0]),
        "palette": palette,
        "alpha": Image.fromarray(alpha),
        "bits": Image.fromarray(_smooth(64, 80, 1, seed=11)[..., 0] > 127),
        "cmyk": Image.fromarray(_smooth(70, 95, 3, seed=12)).convert("CMYK"),
    }
