"""A folder in the Hugging Face layout: its configuration, and its tensors one at a time as float64."""

import itertools
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors

from m3it_jax import errors

INDEX_FILE, SINGLE_FILE = "model.safetensors.index.json", "model.safetensors"

# Rows of a matrix that are turned into float64 at once: a vocabulary of 250,000 would take gigabytes otherwise.
_ROWS = 4_096


class Tensors:
    """Read access to the tensors below a prefix; nothing is read before it is asked for."""

    def __init__(self, places: Mapping[str, Path], prefix: str = ""):
        """Takes the file of each key."""
        self._places, self.prefix = places, prefix

    def __iter__(self) -> Iterator[str]:
        """Yields the keys below the prefix, without it."""
        return (key.removeprefix(self.prefix) for key in self._places if key.startswith(self.prefix))

    def under(self, *prefixes: str) -> "Tensors":
        """Returns the tensors below the first of several spellings of a prefix that occurs."""
        for prefix in prefixes:
            if any(name.startswith(prefix) for name in self):
                return Tensors(self._places, self.prefix + prefix)
        raise errors.UserError(self._missing(prefixes[0] + "*"))

    def has(self, name: str) -> bool:
        """Returns whether there is such a tensor."""
        return self.prefix + name in self._places

    def __call__(self, name: str) -> np.ndarray:
        """Returns a tensor as float64.

        Raises:
          UserError: there is no such tensor, or its file is damaged.
        """
        return self.raw(name).astype(np.float64)

    def optional(self, name: str) -> np.ndarray | None:
        """Returns a tensor as float64, None where there is none (a bias)."""
        return self(name) if self.has(name) else None

    def raw(self, name: str) -> np.ndarray:
        """Returns a tensor in its stored type.

        Raises:
          UserError: as for a call.
        """
        with self._file(name) as file:
            return file.get_tensor(self.prefix + name)

    def rows(self, name: str, numbers: Sequence[int]) -> np.ndarray:
        """Returns some rows of a matrix as float64, without reading the others.

        Raises:
          UserError: as for a call.
        """
        with self._file(name) as file:
            matrix = file.get_slice(self.prefix + name)
            return np.concatenate([matrix[number : number + 1] for number in numbers]).astype(np.float64)

    def product(self, x: np.ndarray, name: str) -> np.ndarray:
        """Returns x W^T for a matrix W that is too large for float64, some rows at a time.

        Raises:
          UserError: as for a call.
        """
        with self._file(name) as file:
            matrix = file.get_slice(self.prefix + name)
            num_rows = matrix.get_shape()[0]
            parts = itertools.pairwise([*range(0, num_rows, _ROWS), num_rows])
            return np.concatenate([x @ matrix[start:stop].astype(np.float64).T for start, stop in parts], axis=-1)

    def _file(self, name: str) -> Any:
        key = self.prefix + name
        if key not in self._places:
            raise errors.UserError(self._missing(name))
        return open_file(self._places[key])

    def _missing(self, name: str) -> str:
        folder = next((path.parent for path in self._places.values()), Path())
        return f"{folder}: has no tensor {self.prefix}{name}, which its config.json asks for; download the folder again"


def open_file(path: Path) -> Any:
    """Returns an open safetensors file.

    Raises:
      UserError: it is missing or damaged.
    """
    try:
        return safetensors.safe_open(path, "numpy")
    except (OSError, safetensors.SafetensorError) as error:
        raise errors.UserError(f"{path}: cannot be read ({error}); download it again") from error


def tensors(folder: Path) -> Tensors:
    """Returns the tensors of a folder, of one file or of the shards that its index names.

    Raises:
      UserError: there is no safetensors file, or one is missing or damaged.
    """
    index = folder / INDEX_FILE
    if index.is_file():
        listed = read_json(index).get("weight_map")
        listed = listed if isinstance(listed, dict) else {"": listed}
        for name in listed.values():
            if not isinstance(name, str) or Path(name).name != name:
                raise errors.UserError(f"{index}: {name!r} names no file beside it; download it again")
        places = {key: folder / name for key, name in listed.items()}
        for path in sorted(set(places.values())):
            if not path.is_file():
                raise errors.UserError(f"{path}: is named by {INDEX_FILE} and is missing; download it again")
        return Tensors(places)
    if not (folder / SINGLE_FILE).is_file():
        raise errors.UserError(
            f"{folder}: has neither {SINGLE_FILE} nor {INDEX_FILE}; give a folder in the Hugging Face layout "
            "(a pickled one is verified after `m3it weights export`)"
        )
    with open_file(folder / SINGLE_FILE) as file:
        return Tensors(dict.fromkeys(file.keys(), folder / SINGLE_FILE))


def read_json(path: Path) -> dict[str, Any]:
    """Returns the object in a JSON file.

    Raises:
      UserError: the file is missing or holds no JSON object.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as error:
        raise errors.UserError(f"{path}: cannot be read ({error.strerror}); give a Hugging Face folder") from error
    except ValueError as error:
        raise errors.UserError(f"{path}: is no JSON ({error}); download it again") from error
    if not isinstance(values, dict):
        raise errors.UserError(f"{path}: holds no JSON object; download it again")
    return values
