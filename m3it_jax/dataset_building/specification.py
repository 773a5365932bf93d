"""What a source is (`SourceSpec`) and what it gives: a `Draft`, a finished record, or a row it left out."""

import dataclasses
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import numpy as np

from m3it_jax import schema

# The setting that lists the splits of a source whose own files were not there.
WITHOUT = "without"

Box = tuple[int, int, int, int]

# CHOICE, where the user gives no share: one row of twenty may be bad; and so many rows in any case, since in a small
# set their share says nothing.
MAX_BAD = 0.05
FEW_BAD = 20


@dataclasses.dataclass(frozen=True)
class Rejected:
    """A row that cannot become a record.

    Attributes:
      place: Where it stands, so that a person finds it: a file and line, or the source's own id of the row.
      reason: A code, lower case with dashes; rows are counted by it.
      text: What is wrong, with the value.
      instance: The record as far as it was made, or None; a reviewer may re-admit it.
    """

    place: str
    reason: str
    text: str
    instance: schema.Instance | None = None

    @classmethod
    def duplicate(cls, instance: schema.Instance) -> "Rejected":
        """Returns that a record stood there before."""
        place = str(instance.meta.get("origin") or instance.id)
        return cls(place, "duplicate-id", f"the same texts and pictures stood there before, as {instance.id}", instance)


class RowError(ValueError):
    """A row, or a file that only this row needs, cannot be used. `reason` is a code as in `Rejected`."""

    def __init__(self, reason: str, text: str):
        """Takes the code and what is wrong."""
        super().__init__(text)
        self.reason = reason


class PictureSource(Protocol):
    """Pictures that are read only when their record is made, in whichever process makes it; can be pickled."""

    def read(self, pick: "FramePick") -> tuple[bytes, ...]:
        """Returns encoded pictures: one of a file, the chosen frames of a video.

        Raises:
          RowError: it is missing, lies outside the raw folder, or cannot be read.
        """
        ...


# (key of the video, number of frames in it, number wanted) -> numbers of the frames wanted, ascending.
FramePick = Callable[[str, int, int], list[int]]


@dataclasses.dataclass(frozen=True)
class Draft:
    """What a source says about one record; the pipeline adds the rest.

    Attributes:
      skill: The row of the evaluation table that the record belongs to.
      inputs: The text that the instruction is about; may be empty.
      outputs: The wanted answer.
      images: Pictures in order, each encoded bytes, which are kept as they are if they are a sound PNG or JPEG, a
        uint8 array [h, w, 3], or something that is read later.
      group: The picture's identity. Whatever shares a part of it (parts are joined by `+`) is of one split.
      captions: For each picture, one English description that holds every fact needed to answer; empty if unknown.
      attributes: Labels of the first picture, by name; they pre-train a vision tower.
      language: BCP-47 tag where it differs from the source's.
      boxes: Regions to mark in the first picture: (left, top, right, bottom) in pixels, right and bottom excluded.
      box_colours: Names in `boxes.COLOURS`, one for each box; empty draws all in red.
      options: The answers to choose from, in order.
      references: Every right answer; empty takes `outputs` alone.
      instruction: The instruction, where the row brings its own; empty draws one of the source's pool.
      slots: Texts by slot name: `[HYPO]` in a drawn instruction becomes `slots["HYPO"]`.
      origin: The publisher's own id of the row, so that it can be found again.
      origin_split: The publisher's split that it comes from.
      licence: Terms of this row, where they differ from the source's.
      turns: Of a conversation, the turns before this one with their answers; pictures that no turn says to be new are
        shown in the first.
      new_pictures: How many pictures this turn is the first to show, if there are turns before it.
      system: What was said before all turns.
      extra: Further entries of `meta`, by name.
    """

    skill: str
    inputs: str
    outputs: str
    images: tuple[bytes | np.ndarray | PictureSource, ...]
    group: str
    captions: tuple[str, ...] = ()
    attributes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    language: str = ""
    boxes: tuple[Box, ...] = ()
    box_colours: tuple[str, ...] = ()
    options: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    instruction: str = ""
    slots: Mapping[str, str] = dataclasses.field(default_factory=dict)
    origin: str = ""
    origin_split: str = ""
    licence: str = ""
    turns: tuple[schema.Turn, ...] = ()
    new_pictures: int = 0
    system: str = ""
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def meta(self) -> dict[str, Any]:
        """Returns the record's `meta`, without empty fields."""
        fields = {
            **self.extra,
            "group": self.group,
            "skill": self.skill,
            "captions": list(self.captions),
            "attributes": dict(self.attributes),
            "boxes": [list(box) for box in self.boxes],
            "box_colours": list(self.box_colours),
            "options": list(self.options),
            "references": list(self.references or (self.outputs,)),
            "slots": dict(self.slots),
            "origin": self.origin,
            "origin_split": self.origin_split,
            "licence": self.licence,
            **self.conversation(),
        }
        return {name: value for name, value in fields.items() if value}

    def conversation(self) -> dict[str, Any]:
        """Returns the entries of `meta` that tell what stands before this turn, without empty ones."""
        fields = {
            "turns": [turn.entry() for turn in self.turns],
            "new_pictures": self.new_pictures,
            "system": self.system,
        }
        return {name: value for name, value in fields.items() if value}


# Folders with what a source is made from, by name: npm packages, or the raw folders of the 40 sources.
Assets = Mapping[str, pathlib.Path]

Rows = Iterator[Draft | schema.Instance | Rejected]

Drafts = Callable[[Assets, str, int], Rows]


@dataclasses.dataclass(frozen=True)
class RawFile:
    """A file, or a folder of files, as the publisher ships it.

    Attributes:
      path: Where it lies, relative to the source's raw folder; a folder ends with `/`.
      what: What it holds, and the form of one entry.
      url: Where to get it without a login; empty if a person has to.
      sha256: The publisher's checksum of the download; empty if none is published: the first use records it.
      optional: Whether the source can be built, in part, without it.
      split: The only split that needs it; empty if several do. Where it is missing, the other splits are built.
      instead: Other places where it may lie, as the publisher or a mirror has it elsewhere.
    """

    path: str
    what: str
    url: str = ""
    sha256: str = ""
    optional: bool = False
    split: str = ""
    instead: tuple[str, ...] = ()

    @property
    def places(self) -> tuple[str, ...]:
        """Every place where it may lie, without a folder's last sign."""
        return tuple(path.rstrip("/") for path in (self.path, *self.instead))


@dataclasses.dataclass(frozen=True)
class Published:
    """What the paper and the publisher say about one of M3IT's 40 sources.

    Attributes:
      held_out: Whether the paper keeps it for zero-shot tests (Figure 1 and Table 7).
      counts: Records of each split in the paper's Table 7.
      raw: What its publisher ships; `borrows` are other sources in whose raw folders its pictures may lie instead.
      selection: Which of the publisher's rows become which split, and how many are drawn.
      known_from: Where the raw layout is known from: a publisher's page, a repository or a paper.
      unverified: What could not be checked against the publisher's files, one sentence each.
      paraphrase: What the authors gave the paraphraser beside question and answer: `none` (answers were not
        paraphrased), `question` (nothing more), `caption` or `ocr`.
      withheld: Splits of the paper whose answers the publisher keeps to itself: they stay empty unless the raw files
        that somebody has do hold answers. Nothing is put in their place.
      fallback: The answer's form where a paraphrase fails, with `{}` for the short answer.
    """

    held_out: bool
    counts: Mapping[str, int]
    raw: tuple[RawFile, ...]
    selection: str
    known_from: tuple[str, ...]
    unverified: tuple[str, ...] = ()
    borrows: tuple[str, ...] = ()
    paraphrase: str = "none"
    withheld: tuple[str, ...] = ()
    fallback: str = "The answer is {}."


@dataclasses.dataclass(frozen=True)
class SourceSpec:
    """One source: where it comes from, under which terms, and how its records are made.

    Attributes:
      name: Name of the source, the TFDS config and the folder.
      task: One of `schema.TASKS`.
      language: BCP-47 tag of its texts; `mul` for several.
      pool: Its instructions, as `<file>/<key>` of the instruction bank; empty if every row brings its own.
      drafts: (assets, split, seed) -> rows in a fixed order; the same three give the same rows.
      rows: Most records of each split, and the estimate of the time left; a split that is not named takes all.
      version: Raised when the records change.
      licence: Terms of the pictures and texts; `unknown` is a real value.
      citation: What to cite.
      url: Where it comes from.
      packages: npm packages that it reads.
      known_problems: What a user should know before use.
      instructions: Its instructions, where they are not in the bank: an import or a copy brings its own.
      settings: What decides its records beside the order, as JSON: what it is imported or copied from.
      inputs: The files and folders that it is imported from.
      published: What is known of it, if it is one of M3IT's 40.
    """

    name: str
    task: str
    language: str
    pool: str
    drafts: Drafts
    rows: Mapping[str, int]
    version: str = "1.0.0"
    licence: str = ""
    citation: str = ""
    url: str = ""
    packages: tuple[str, ...] = ()
    known_problems: str = ""
    instructions: tuple[str, ...] = ()
    settings: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    inputs: tuple[pathlib.Path, ...] = ()
    published: Published | None = None
