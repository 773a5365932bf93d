"""What an import read, so that a rerun knows whether it has changed: `OUT/.inputs/<source>.json`, no part of the data.

Sizes and times of the files, and of the pictures that rows name in a folder, decide whether a source is made again, as
they do for `make`; whether its records are others then is told by their content. The times stand outside of the data,
which is the same wherever it is made.
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import stat
from collections.abc import Callable
from typing import Any

from m3it_jax import file_safety
from m3it_jax.dataset_building.specification import Draft, SourceSpec

FOLDER = ".inputs"

_BITS = 128  # of the sum over all pictures, which does not depend on their order


@dataclasses.dataclass
class Pictures:
    """What was seen of the pictures that lie beside the rows.

    Attributes:
      number: How many rows named some.
      total: Sum of the hashes of each row's texts, and its pictures' places, sizes and times.
    """

    number: int = 0
    total: int = 0

    def add(self, row: object) -> None:
        """Notes a row, if it is one whose pictures lie in files."""
        if not isinstance(row, Draft):
            return
        places = [image.place() for image in row.images if hasattr(image, "place")]
        if places:
            told = [row.instruction, row.inputs, row.outputs, *((str(each), *_state(each)) for each in places if each)]
            digest = hashlib.sha256(json.dumps(told).encode("ascii")).digest()
            self.number += 1
            self.total = (self.total + int.from_bytes(digest[: _BITS // 8], "big")) % (1 << _BITS)

    def noted(self) -> list[Any]:
        """Returns what is written down."""
        return [self.number, f"{self.total:x}"]


def _state(path: str | pathlib.Path) -> list[int]:
    """Returns size and time of a file, nothing if it is none."""
    try:
        found = os.stat(path)
    except OSError:
        return []
    return [found.st_size, found.st_mtime_ns] if stat.S_ISREG(found.st_mode) else []


def note(out: pathlib.Path, spec: SourceSpec, pictures: Pictures) -> None:
    """Writes down what an imported source was made from."""
    if spec.inputs:
        (out / FOLDER).mkdir(parents=True, exist_ok=True)
        text = json.dumps({**_files(spec), "pictures": pictures.noted()}) + "\n"
        file_safety.write_whole(out / FOLDER / f"{spec.name}.json", text)


def _files(spec: SourceSpec) -> dict[str, Any]:
    """Returns the state of a source's files; of a folder its pictures and texts tell."""
    return {"files": [_state(path) for path in spec.inputs]}


def is_changed(out: pathlib.Path, spec: SourceSpec, read: Callable[[Pictures], None]) -> bool:
    """Returns whether what an imported source was made from is another than what was noted.

    `read` adds its rows of now; it is called where the files are as they were and rows name pictures.
    """
    try:
        noted = json.loads((out / FOLDER / f"{spec.name}.json").read_text("utf-8"))
        if noted["files"] != _files(spec)["files"]:
            return True
        if noted["pictures"][0] == 0:
            return False
        pictures = Pictures()
        read(pictures)
        return noted["pictures"] != pictures.noted()
    except (OSError, ValueError, TypeError, LookupError):
        return True  # made elsewhere, or by an earlier version
