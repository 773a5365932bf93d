"""Source -> rows -> pictures, boxes, id and instruction -> check: a stream of Instances for each split."""

import collections
import dataclasses
import itertools
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from m3it_jax import errors, licences, prompts, rng, schema
from m3it_jax.dataset_building import boxes, instructions, pictures, quality, video
from m3it_jax.dataset_building.specification import (
    Assets,
    Draft,
    FramePick,
    Rejected,
    RowError,
    SourceSpec,
)

# Below so many bad rows their share says nothing.
FEW_BAD = 20
# Reasons that are no fault of a row: publishers ship some twice and keep the answers of their tests, and `--allow` is
# the user's own wish.
HARMLESS = ("duplicate-id", "answer-withheld", "licence")


@dataclasses.dataclass
class Stream:
    """The records of one source, and what was seen on the way.

    Attributes:
      spec: The source.
      assets: Folders that it reads, by name.
      seed: Decides splits, drawings and instructions.
      limit: Most rows of a split; None for all.
      pick: Which frames of a video are taken.
      allow: What the licence of a row must allow, words of `licences.TERMS`; empty takes all.
      max_bad: Share of rows (0..1) that may be bad before the build stops.
      on_record: Called after each record, for progress.
      on_rejected: Called with the split and each row that was left out.
      rejected: Number of rows that were left out, by reason.
      attributes: Values of each attribute seen in the train split.
    """

    spec: SourceSpec
    assets: Assets
    seed: int
    limit: int | None = None
    pick: FramePick = video.uniform
    allow: tuple[str, ...] = ()
    max_bad: float = 1.0
    on_record: Callable[[], None] = lambda: None
    on_rejected: Callable[[str, Rejected], None] = lambda split, row: None
    rejected: collections.Counter = dataclasses.field(default_factory=collections.Counter)
    attributes: dict[str, set[str]] = dataclasses.field(default_factory=dict)

    def instances(self, split: str) -> Iterator[schema.Instance]:
        """Yields the sound records of a split in the source's order; the others are counted in `rejected`.

        Raises:
          UserError: more than `max_bad` of the rows are bad.
        """
        seen: set[int] = set()
        kept = bad = 0
        for row in self.rows(split):
            result = finished(row, self.spec, seed=self.seed, pick=self.pick)
            if isinstance(result, schema.Instance) and not licences.allowed(result.meta.get("licence", ""), self.allow):
                result = Rejected(result.id, "licence", f"{result.meta.get('licence', '')!r} does not allow it", result)
            if isinstance(result, schema.Instance):
                digest = rng.fold(0, result.id)  # of millions of records a number takes a tenth of the text's memory
                if digest in seen:
                    result = Rejected(
                        result.id, "duplicate-id", "the same texts and pictures stood there before", result
                    )
                seen.add(digest)
            if isinstance(result, Rejected):
                self.rejected[result.reason] += 1
                self.on_rejected(split, result)
                bad += result.reason not in HARMLESS
                if (
                    bad > FEW_BAD
                    and bad > self.max_bad * (kept + bad)
                    and kept + bad >= FEW_BAD / max(self.max_bad, 1e-3)
                ):
                    raise self._too_bad(split, bad, kept + bad)
                continue
            kept += 1
            if split == "train":
                for name, value in result.meta.get("attributes", {}).items():
                    self.attributes.setdefault(name, set()).add(value)
            self.on_record()
            yield result
        if bad > FEW_BAD and bad > self.max_bad * (kept + bad) or (bad and not kept and self.max_bad < 1):
            raise self._too_bad(split, bad, kept + bad)

    def rows(self, split: str) -> Iterator[Draft | schema.Instance | Rejected]:
        """Yields the rows of a split as the source gives them, at most as many as are wanted."""
        limits = [number for number in (self.limit, self.spec.rows.get(split)) if number is not None]
        return itertools.islice(self.spec.drafts(self.assets, split, self.seed), min(limits) if limits else None)

    def _too_bad(self, split: str, bad: int, rows: int) -> errors.UserError:
        reasons = ", ".join(f"{reason} {number}" for reason, number in self.rejected.most_common(5))
        return errors.UserError(
            f"{self.spec.name}, split {split}: {bad} of the first {rows} rows are bad ({reasons}), more than "
            f"--max-bad {self.max_bad:g}; mend the raw files or allow more"
        )


def finished(
    row: Draft | schema.Instance | Rejected, spec: SourceSpec, *, seed: int, pick: FramePick
) -> schema.Instance | Rejected:
    """Returns the record of a row, or why there is none. Nothing but the arguments decides the result."""
    if isinstance(row, Rejected):
        return row
    if isinstance(row, schema.Instance):
        return _checked(row, quality.problems(row))
    place = row.origin or row.group
    try:
        images, changes = encoded(row, pick)
        instance = instance_of(row, images, spec=spec, seed=seed, changes=changes)
    except RowError as error:
        return Rejected(place, error.reason, str(error))
    # Every picture was decoded or drawn on the way, so the schema is all that is left to check.
    return _checked(instance, itertools.chain(schema.problems(instance), quality.text_problems(instance)))


def _checked(instance: schema.Instance, broken: Iterator[tuple[str, str]]) -> schema.Instance | Rejected:
    for reason, text in broken:
        place = instance.meta.get("origin", "") if isinstance(instance.meta, dict) else ""
        return Rejected(place or instance.id, reason, text, instance)
    return instance


def encoded(draft: Draft, pick: FramePick) -> tuple[tuple[bytes, ...], list[str]]:
    """Returns the draft's pictures as they are stored, boxes drawn into the first, and what was changed.

    Raises:
      RowError: a picture is missing or unusable, or a box lies outside it.
    """
    if len(draft.box_colours) not in (0, len(draft.boxes)):
        raise RowError("box-colours", f"{len(draft.boxes)} boxes have {len(draft.box_colours)} colours")
    found: list[bytes | np.ndarray] = []
    for image in draft.images:
        found += [image] if isinstance(image, bytes | np.ndarray) else image.read(pick)
    changes: list[str] = []
    if draft.boxes and found:
        first = found[0]
        marked = pictures.pixels(first) if isinstance(first, bytes) else first
        for number, box in enumerate(draft.boxes):
            colour = draft.box_colours[number] if draft.box_colours else "red"
            try:
                marked = boxes.draw_box(marked, box, colour)
            except ValueError as error:
                raise RowError("box-outside", str(error)) from error
        found[0] = marked
        changes.append(f"{len(draft.boxes)} box{'es' if len(draft.boxes) > 1 else ''} drawn")
    images = []
    for image in found:
        kept, change = pictures.stored(image) if isinstance(image, bytes) else (pictures.encode_png(image), "")
        images.append(kept)
        if change and f"picture {change}" not in changes:
            changes.append(f"picture {change}")
    return tuple(images), changes


def instance_of(
    draft: Draft, images: tuple[bytes, ...], *, spec: SourceSpec, seed: int, changes: list[str]
) -> schema.Instance:
    """Returns the record of a draft. Its id comes from skill, texts and pictures, so a rebuild gives the same.

    Raises:
      RowError: a slot of the instruction has no text, or a text is no UTF-8.
    """
    slots = [part for name, text in sorted(draft.slots.items()) for part in (name, text)]
    for text in (draft.skill, draft.inputs, draft.outputs, draft.instruction, *slots):
        if not schema.encodable(text):
            raise RowError("bad-text", f"{text[:80]!r} holds a lone surrogate and cannot be written as UTF-8")
    brought = [draft.instruction] if draft.instruction else []
    record_id = schema.content_id(spec.name, draft.skill, draft.inputs, draft.outputs, *slots, *brought, *images)
    instruction = draft.instruction or instructions.choose(instructions.pool(spec.pool), seed, record_id)
    try:
        instruction = prompts.fill_slots(instruction, draft.slots)
    except KeyError as error:
        raise RowError("broken-slot", f"the instruction's slot {error} has no text") from error
    meta: dict[str, Any] = draft.meta()
    meta.setdefault("licence", spec.licence)
    meta["version"] = spec.version
    if made := [*meta.get("changes", ()), *changes]:
        meta["changes"] = made
    return schema.Instance(
        id=record_id,
        source=spec.name,
        task=spec.task,
        language=draft.language or spec.language,
        instruction=instruction,
        inputs=draft.inputs,
        outputs=draft.outputs,
        images=images,
        meta={name: value for name, value in meta.items() if value},
    )
