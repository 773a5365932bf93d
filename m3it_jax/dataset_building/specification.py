"""What a source is (`SourceSpec`) and what it gives (`Draft`): a record without its id, instruction and encoding."""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np


@dataclasses.dataclass(frozen=True)
class Draft:
    """What a source says about one record; the pipeline adds the rest.

    Attributes:
      skill: The row of the evaluation table that the record belongs to.
      inputs: The text that the instruction is about; may be empty.
      outputs: The wanted answer.
      images: Pictures in order, each either encoded bytes, which are kept as they are, or a uint8 array [h, w, 3].
      group: The picture's identity. Whatever shares a part of it (parts are joined by `+`) is of one split.
      captions: For each picture, one English description that holds every fact needed to answer.
      attributes: Labels of the first picture, by name; they pre-train a vision tower.
      language: BCP-47 tag where it differs from the source's.
      boxes: Regions to mark in the first picture: (left, top, right, bottom) in pixels, right and bottom excluded.
      options: The answers to choose from, in order.
      references: Every right answer; empty takes `outputs` alone.
    """

    skill: str
    inputs: str
    outputs: str
    images: tuple[bytes | np.ndarray, ...]
    group: str
    captions: tuple[str, ...]
    attributes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    language: str = ""
    boxes: tuple[tuple[int, int, int, int], ...] = ()
    options: tuple[str, ...] = ()
    references: tuple[str, ...] = ()

    def meta(self) -> dict[str, Any]:
        """Returns the record's `meta`, without empty fields."""
        fields = {
            "group": self.group,
            "skill": self.skill,
            "captions": list(self.captions),
            "attributes": dict(self.attributes),
            "boxes": [list(box) for box in self.boxes],
            "options": list(self.options),
            "references": list(self.references or (self.outputs,)),
        }
        return {name: value for name, value in fields.items() if value}


# Packages by name -> the folder with their files.
Assets = Mapping[str, pathlib.Path]


@dataclasses.dataclass(frozen=True)
class SourceSpec:
    """One source: where it comes from, under which terms, and how its records are made.

    Attributes:
      name: Name of the source, the TFDS config and the folder.
      task: One of `schema.TASKS`.
      language: BCP-47 tag of its texts; `mul` for several.
      pool: Its instructions, as `<file>/<key>` of the instruction bank.
      drafts: (assets, split, seed) -> records in a fixed order; the same three give the same records.
      rows: Records of each split, for the estimate of the time left; what is written is counted.
      version: Raised when the records change.
      licence: Terms of the pictures and texts.
      citation: What to cite.
      url: Where it comes from.
      packages: npm packages that it reads.
      known_problems: What a user should know before use.
    """

    name: str
    task: str
    language: str
    pool: str
    drafts: Callable[[Assets, str, int], Iterator[Draft]]
    rows: Mapping[str, int]
    version: str = "1.0.0"
    licence: str = ""
    citation: str = ""
    url: str = ""
    packages: tuple[str, ...] = ()
    known_problems: str = ""
