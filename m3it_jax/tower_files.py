"""The files of towers that ship with the package: one safetensors file for each part, named after it."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
import safetensors
import safetensors.numpy

from m3it_jax import errors


def read(folder: Path, part: str) -> dict[str, np.ndarray]:
    """Returns {path: float32 array} of a part.

    Raises:
      UserError: the package does not ship it, or the file is damaged.
    """
    path = _file(folder, part)
    with _told_of(path):
        leaves = safetensors.numpy.load_file(path)
    return {name: leaf.astype(np.float32) for name, leaf in leaves.items()}


def shapes(folder: Path, part: str) -> dict[str, tuple[int, ...]]:
    """Returns {path: shape} of a part; no array is read.

    Raises:
      UserError: the package does not ship it, or the file is damaged.
    """
    path = _file(folder, part)
    with _told_of(path), safetensors.safe_open(path, "numpy") as file:
        return {name: tuple(file.get_slice(name).get_shape()) for name in file.keys()}


def write(folder: Path, parts: Mapping[str, Mapping[str, Any]]) -> None:
    """Writes one float16 file for each part."""
    folder.mkdir(parents=True, exist_ok=True)
    for part, leaves in parts.items():
        halves = {path: np.asarray(jax.device_get(leaf)).astype(np.float16) for path, leaf in leaves.items()}
        safetensors.numpy.save_file(halves, folder / f"{part}.safetensors")


def _file(folder: Path, part: str) -> Path:
    path = folder / f"{part}.safetensors"
    if not path.is_file():
        known = sorted(f"{file.parent.name}/{file.stem}" for file in folder.parent.glob("*/*.safetensors"))
        raise errors.UserError(f"init_from: the package ships no {folder.name}/{part}; it ships {', '.join(known)}")
    return path


@contextlib.contextmanager
def _told_of(path: Path) -> Iterator[None]:
    try:
        yield
    except (safetensors.SafetensorError, OSError) as error:
        raise errors.UserError(f"{path}: cannot be read ({error}); install the package again") from error
