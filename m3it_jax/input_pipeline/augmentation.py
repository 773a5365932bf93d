"""Random changes of training pictures: one affine move, a wave and light, all in a single pass of numpy."""

import numpy as np

from m3it_jax import config as configuration


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
    moved = images
    if config.shift or config.scale or config.rotate or config.wave:
        moved = _sample(images, *_source_points(images.shape[1:3], config, draw))
    if not config.jitter:
        return moved
    height, width = images.shape[1:3]
    down, right = np.linspace(-0.5, 0.5, height), np.linspace(-0.5, 0.5, width)
    contrast, brightness = 1 + config.jitter * draw[6], 1 + config.jitter * draw[7]
    # Shading: a slope of light in a random direction, half of it on either side of the centre.
    light = brightness * (1 + config.jitter * (draw[8] * down[:, None] + draw[9] * right[None, :]))
    gain = light.astype(np.float32)[..., None]
    # Contrast stretches around mid grey; the last half rounds.
    shaded = (moved * np.float32(contrast) + np.float32(127.5 * (1 - contrast))) * gain + np.float32(0.5)
    return np.clip(shaded, 0, 255).astype(np.uint8)


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
    # One 32-bit word a pixel: a gather of words is several times faster than one of three bytes.
    words = np.zeros((count, height * width, 4), np.uint8)
    words[..., :3] = images.reshape(count, -1, 3)
    pixels = words.view(np.uint32)[..., 0]
    down, right = (rows - top).ravel()[:, None], (columns - left).ravel()[:, None]
    out = np.full((count, height * width, 4), 0.5, np.float32)
    for y, x, weight in (
        (top, left, (1 - down) * (1 - right)),
        (top, beside, (1 - down) * right),
        (below, left, down * (1 - right)),
        (below, beside, down * right),
    ):
        corner = pixels.take((y * width + x).ravel(), axis=1).view(np.uint8).reshape(out.shape)
        out += corner * weight
    return out.astype(np.uint8)[..., :3].reshape(images.shape)
