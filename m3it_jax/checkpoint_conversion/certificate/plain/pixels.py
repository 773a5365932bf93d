"""A picture as the processors of the published models prepare it: Pillow, told what to do by their JSON alone.

Sources: transformers 4.31.0 models/blip/image_processing_blip.py, models/clip/image_processing_clip.py (those that use
Pillow; the torch ones of 5.x differ from it by up to 1/255).
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from m3it_jax import errors
from m3it_jax.checkpoint_conversion.certificate.plain import folder

# The first is the processor's own file, the second where transformers 5 puts it beside the other settings.
PREPROCESSOR_FILE, PROCESSOR_FILE = "preprocessor_config.json", "processor_config.json"


def read_settings(path: Path) -> dict[str, Any] | None:
    """Returns the settings of a folder's image processor, None where it has none.

    Raises:
      UserError: the file is no JSON, or asks for something that is not known here.
    """
    file, newer = path / PREPROCESSOR_FILE, path / PROCESSOR_FILE
    settings: dict[str, Any] | None = folder.read_json(file) if file.is_file() else None
    inside = folder.read_json(newer).get("image_processor") if newer.is_file() else None
    if inside is not None:
        file, settings = newer, {**(settings or {}), **inside}
    if settings is None:
        return None
    for name in ("size", "image_mean", "image_std"):
        if name not in settings:
            raise errors.UserError(f"{file}: has no {name}; take the file of the published model")
    if settings.get("do_pad"):
        raise errors.UserError(f"{file}: do_pad={settings['do_pad']!r} is not known here, only false")
    return settings


def prepare(image: Image.Image, settings: Mapping[str, Any]) -> np.ndarray:
    """Returns a picture [3, h, w] as the model takes it, float64."""
    image = image.convert("RGB")
    if settings.get("do_resize", True):
        size = _wanted_size(image.size, settings["size"])
        image = image.resize(size, Image.Resampling(settings.get("resample", Image.Resampling.BICUBIC)))
    pixels = np.asarray(image).astype(np.float64)
    if settings.get("do_center_crop", False):
        height, width = _edges(settings["crop_size"])
        top, left = (pixels.shape[0] - height) // 2, (pixels.shape[1] - width) // 2
        pixels = pixels[top : top + height, left : left + width]
    if settings.get("do_rescale", True):
        pixels = pixels * settings.get("rescale_factor", 1 / 255)
    if settings.get("do_normalize", True):
        pixels = (pixels - np.array(settings["image_mean"])) / np.array(settings["image_std"])
    return pixels.transpose(2, 0, 1)


def _wanted_size(size: tuple[int, int], wanted: Any) -> tuple[int, int]:
    """Returns (width, height): the edges asked for, or the shorter one with the picture's proportions kept."""
    shortest = wanted if isinstance(wanted, int) else wanted.get("shortest_edge")
    if shortest is None:
        height, width = _edges(wanted)
        return width, height
    width, height = size
    longer = int(shortest * max(size) / min(size))
    return (shortest, longer) if width <= height else (longer, shortest)


def _edges(wanted: Any) -> tuple[int, int]:
    """Returns (height, width)."""
    return (wanted, wanted) if isinstance(wanted, int) else (wanted["height"], wanted["width"])
