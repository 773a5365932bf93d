"""Source -> rows -> pictures, boxes, id and instruction -> check: a stream of Instances for each split."""

import collections
import dataclasses
import itertools
import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from m3it_jax import errors, licences, prompts, schema
from m3it_jax.dataset_building.media import boxes, pictures
from m3it_jax.dataset_building.publishers import video
from m3it_jax.dataset_building.specification import (
    FEW_BAD,
    Assets,
    Draft,
    FramePick,
    Rejected,
    RowError,
    SourceSpec,
)
from m3it_jax.dataset_building.steps import hashed, instructions, quality

# Reasons that are no fault of a row: publishers ship some twice and keep the answers of their tests, `--allow` is the
# user's own wish, mixed sets hold rows of text alone, and a picture may lie beside a pair that is whole without it.
HARMLESS = ("duplicate-id", "answer-withheld", "licence", "text-only", "extra-picture")


def nothing(*seen: object) -> None:
    """Takes whatever a stream tells, for those who do not listen."""
    del seen


@dataclasses.dataclass(frozen=True)
class Stream:
    """The records of one source.

    Attributes:
      spec: The source.
      assets: Folders that it reads, by name.
      seed: Decides splits, drawings and instructions.
      limit: Most rows of a split; None for all.
      pick: Which frames of a video are taken.
      allow: What the licence of a row must allow, words of `licences.TERMS`; empty takes all.
      max_bad: Share of rows (0..1) that may be bad before the build stops.
      few_bad: So many bad rows never stop a build, whatever their share, unless `max_bad` is 0.
      on_row: Called with each row as the source gives it.
      on_record: Called after each record, for progress.
      on_rejected: Called with the split and each row that was left out.
    """

    spec: SourceSpec
    assets: Assets
    seed: int
    limit: int | None = None
    pick: FramePick = video.uniform
    allow: tuple[str, ...] = ()
    max_bad: float = 1.0
    few_bad: int = FEW_BAD
    on_row: Callable[[object], None] = nothing
    on_record: Callable[[], None] = nothing
    on_rejected: Callable[[str, Rejected], None] = nothing

    def instances(self, split: str) -> Iterator[schema.Instance]:
        """Yields the sound records of a split in the source's order; `on_rejected` is told of the others.

        Raises:
          UserError: more than `max_bad` of the rows are bad.
        """
        seen = hashed.Seen()
        tally = Tally(self, split)
        for row in self.rows(split):
            self.on_row(row)
            result = self.finished(row)
            if isinstance(result, schema.Instance) and seen.add(result.id):
                result = Rejected.duplicate(result)
            if isinstance(result, Rejected):
                self.on_rejected(split, result)
                tally.reject(result.reason)
                tally.check(early=True)
                continue
            tally.kept += 1
            self.on_record()
            yield result
        tally.check(early=False)

    def finished(self, row: Draft | schema.Instance | Rejected) -> schema.Instance | Rejected:
        """Returns the record of a row, or why there is none. Nothing but the row and the stream's values decides."""
        if isinstance(row, Rejected):
            return row
        if isinstance(row, schema.Instance):
            return self._checked(row, quality.problems(row))
        place = row.origin or row.group
        try:
            images, changes = encoded(row, self.pick)
            instance = instance_of(row, images, spec=self.spec, seed=self.seed, changes=changes)
        except RowError as error:
            return Rejected(place, error.reason, str(error))
        # Every picture was decoded or drawn on the way, so the texts are all that is left to check.
        return self._checked(instance, itertools.chain(schema.problems(instance), quality.text_problems(instance)))

    def _checked(self, instance: schema.Instance, broken: Iterator[tuple[str, str]]) -> schema.Instance | Rejected:
        found = next(broken, None)
        if found is None:
            licence = instance.meta.get("licence", "")
            if licences.allowed(licence, self.allow):
                return instance
            found = "licence", f"{licence or 'unknown'!r} does not allow {' or '.join(self.allow)}"
        place = instance.meta.get("origin", "") if isinstance(instance.meta, dict) else ""
        return Rejected(place or instance.id, *found, instance)

    def rows(self, split: str) -> Iterator[Draft | schema.Instance | Rejected]:
        """Yields the rows of a split as the source gives them, at most as many as are wanted."""
        limits = [number for number in (self.limit, self.spec.rows.get(split)) if number is not None]
        return itertools.islice(self.spec.drafts(self.assets, split, self.seed), min(limits) if limits else None)


@dataclasses.dataclass
class Tally:
    """Counts the rows of a split and stops a build of which too much is bad.

    Attributes:
      stream: The stream.
      split: The split.
      kept: Rows that became records.
      rejected: Rows that were left out, by reason.
    """

    stream: Stream
    split: str
    kept: int = 0
    rejected: collections.Counter = dataclasses.field(default_factory=collections.Counter)

    def reject(self, reason: str) -> None:
        """Counts a row that was left out."""
        self.rejected[reason] += 1

    def check(self, *, early: bool) -> None:
        """Compares the share of bad rows with `Stream.max_bad`; `early` says that more rows will come.

        Raises:
          UserError: more are bad, or all of them.
        """
        bad = sum(number for reason, number in self.rejected.items() if reason not in HARMLESS)
        rows, most = self.kept + bad, self.stream.max_bad
        few = self.stream.few_bad if most else 0
        if early:  # a bad begin says little about a long list: so many rows are waited for as make FEW_BAD a fair share
            few = max(few, FEW_BAD, 0 if rows * most >= FEW_BAD or not most else bad)
        too_many = bad > few and bad > most * rows
        all_bad = bad and not self.kept and not early and most < 1
        if too_many or all_bad:
            reasons = ", ".join(f"{reason} {number}" for reason, number in self.rejected.most_common(5))
            raise errors.UserError(
                f"{self.stream.spec.name}, split {self.split}: {bad} of the first {rows} rows are bad ({reasons}), "
                f"more than --max-bad {most:g}; mend the raw files or allow more"
            )


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
    images: list[bytes] = []
    for image in found:
        try:
            kept, change = pictures.stored(image) if isinstance(image, bytes) else (pictures.encode_png(image), "")
        except RowError as error:
            if len(found) == 1:
                raise
            raise RowError(error.reason, f"picture {len(images) + 1} of {len(found)}: {error}") from error
        images.append(kept)
        if change and f"picture {change}" not in changes:
            changes.append(f"picture {change}")
    return tuple(images), changes


def instance_of(
    draft: Draft, images: tuple[bytes, ...], *, spec: SourceSpec, seed: int, changes: list[str]
) -> schema.Instance:
    """Returns the record of a draft. Its id comes from skill, texts and pictures, so a rebuild gives the same.

    Raises:
      RowError: there is no instruction, a slot of it has no text, a text is no UTF-8, or `meta` is no JSON.
    """
    slots = [part for name, text in sorted(draft.slots.items()) for part in (name, text)]
    for text in (draft.skill, draft.inputs, draft.outputs, draft.instruction, *slots):
        if not schema.encodable(text):
            raise RowError("bad-text", f"{text[:80]!r} holds a lone surrogate and cannot be written as UTF-8")
    brought = [draft.instruction] if draft.instruction else []
    if before := draft.conversation():
        brought.append(json.dumps(before, sort_keys=True))
    record_id = schema.content_id(spec.name, draft.skill, draft.inputs, draft.outputs, *slots, *brought, *images)
    pool = instructions.of(spec)
    if not draft.instruction and not pool:
        raise RowError(
            "empty-instruction", "field instruction is empty, must be text: the source has none to draw from"
        )
    instruction = draft.instruction or instructions.choose(pool, seed, record_id)
    try:
        instruction = prompts.fill_slots(instruction, draft.slots)
    except KeyError as error:
        raise RowError("broken-slot", f"the instruction's slot {error} has no text") from error
    meta: dict[str, Any] = draft.meta()
    meta.setdefault("licence", spec.licence)
    meta["version"] = spec.version
    if made := [*meta.get("changes", ()), *changes]:
        meta["changes"] = made
    try:
        told = json.dumps(meta, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise RowError("bad-meta", f"meta is no JSON object: {error}") from error
    if not schema.encodable(told):
        raise RowError("bad-text", "meta holds a lone surrogate and cannot be written as UTF-8")
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
