"""Random changes of training pictures: one affine move, a wave and light, all in a single pass of numpy."""

import copy
from collections.abc import Sequence

import numpy as np

from m3it_jax import config as configuration
from m3it_jax.input_pipeline.pixels import tiling

_EVEN = np.uint32(0x00FF00FF)  # every second byte of a word


def augment(images: np.ndarray, config: configuration.AugmentConfig, rng: np.random.Generator) -> np.ndarray:
    """Returns the pictures of one row moved, bent and shaded at random; pixels beyond an edge repeat the edge.

    All pictures of the row are changed alike, so a video keeps its motion and two pictures their likeness.

    Args:
      images: uint8 [n, h, w, 3].
      config: Largest changes; with all of them zero the pictures come back as they are.
      rng: Source of chance; as many numbers are drawn whatever the config, so one field never shifts another.

    Returns:
      uint8 [n, h, w, 3].
    """
    draw = rng.uniform(-1, 1, size=11)
    if config.shift or config.scale or config.rotate or config.wave:
        images = _sample(images, *_source_points(images.shape[1:3], config, draw))
    return _shade(images, config.jitter, draw) if config.jitter else images


def augment_cut(
    pictures: np.ndarray,
    cuts: Sequence[tiling.Grid],
    config: configuration.AugmentConfig,
    *,
    rng: np.random.Generator,
) -> np.ndarray:
    """Returns the pictures of one row changed at random, the tiles of each as the one picture that they are parts of.

    Args:
      pictures: uint8 [slots, h, w, 3], the slots of all pictures in order.
      cuts: How each picture is cut.
      config: Largest changes.
      rng: Source of chance, which stays as it is.
    """
    return tiling.changed(pictures, cuts, lambda part: augment(part, config, copy.deepcopy(rng)))


def _shade(images: np.ndarray, jitter: float, draw: np.ndarray) -> np.ndarray:
    """Returns the pictures with other contrast and brightness, and a slope of light (shading) across them."""
    height, width = images.shape[1:3]
    down, right = np.linspace(-0.5, 0.5, height), np.linspace(-0.5, 0.5, width)
    contrast, brightness = 1 + jitter * draw[6], 1 + jitter * draw[7]
    light = brightness * (1 + jitter * (draw[8] * down[:, None] + draw[9] * right[None, :]))
    # (pixel - grey) * contrast + grey, times light: one product and one sum for each plane of a colour.
    gain = (light * contrast).astype(np.float32)
    offset = (light * (127.5 * (1 - contrast)) + 0.5).astype(np.float32)  # the half rounds
    shaded = np.empty_like(images)
    for channel in range(images.shape[3]):
        plane = images[..., channel] * gain
        plane += offset
        shaded[..., channel] = np.clip(plane, 0, 255, out=plane)
    return shaded


def _source_points(
    shape: tuple[int, int], config: configuration.AugmentConfig, draw: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Returns for each pixel where it comes from: rows and columns in pixels, float32 [h, w] each."""
    height, width = shape
    down = np.arange(height, dtype=np.float32)[:, None] - (height - 1) / 2
    right = np.arange(width, dtype=np.float32)[None, :] - (width - 1) / 2
    angle = np.deg2rad(config.rotate * draw[0])
    zoom = 1 / (1 + config.scale * draw[1])
    cos, sin = np.float32(zoom * np.cos(angle)), np.float32(zoom * np.sin(angle))
    rows = cos * down + sin * right + np.float32((height - 1) / 2 - config.shift * height * draw[2])
    columns = cos * right - sin * down + np.float32((width - 1) / 2 - config.shift * width * draw[3])
    # One to two waves over the picture, along the columns, as a flag in the wind.
    phase = np.float32(np.pi) * (draw[4] + (3 + draw[5]) * right / width)
    return rows + np.float32(config.wave * height * draw[10]) * np.sin(phase).astype(np.float32), columns


def _sample(images: np.ndarray, rows: np.ndarray, columns: np.ndarray) -> np.ndarray:
    """Returns the pictures read bilinearly at (rows, columns), uint8 [n, h, w, 3]."""
    count, height, width, _ = images.shape
    rows, columns = np.clip(rows, 0, height - 1), np.clip(columns, 0, width - 1)
    top, left = rows.astype(np.int32), columns.astype(np.int32)
    below, beside = np.minimum(top + 1, height - 1), np.minimum(left + 1, width - 1)
    # One 32-bit word a pixel: a gather of words is several times faster than one of three bytes, and a product with a
    # weight of 0 to 256 does two colours at once, because the colour between them leaves 8 bits of room.
    words = np.zeros((count, height * width, 4), np.uint8)
    words[..., :3] = images.reshape(count, -1, 3)
    pixels = words.view(np.uint32)[..., 0]
    down = ((rows - top) * 256).astype(np.uint32).ravel()
    right = ((columns - left) * 256).astype(np.uint32).ravel()
    both = (down * right) >> 8
    even = np.full(pixels.shape, 0x00800080, np.uint32)  # halves, to round
    odd = even.copy()
    for y, x, weight in (
        (top, left, 256 + both - down - right),
        (top, beside, right - both),
        (below, left, down - both),
        (below, beside, both),
    ):
        corner = pixels.take((y * width + x).ravel(), axis=1)
        even += (corner & _EVEN) * weight
        odd += ((corner >> 8) & _EVEN) * weight
    mixed = ((even >> 8) & _EVEN) | (odd & ~_EVEN)
    return np.ascontiguousarray(mixed.view(np.uint8).reshape(words.shape)[..., :3]).reshape(images.shape)
