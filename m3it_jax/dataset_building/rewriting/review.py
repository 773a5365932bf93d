"""The quality of a written data folder: a report, a clean copy, and what a reviewer takes back out of quarantine.

A reviewer writes a JSONL file, one object a line: `{"id": ...}` takes a record back as it is, `{"id": ..., "outputs":
"..."}` with another answer (`inputs` and `instruction` likewise). Its `meta.admitted` then lists the reasons for which
it had been left out, and no later check holds those against it.
"""

import collections
import dataclasses
import functools
import hashlib
import json
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from m3it_jax import errors, records, schema
from m3it_jax.dataset_building.rewriting import copying
from m3it_jax.dataset_building.specification import Rejected
from m3it_jax.dataset_building.steps import quality
from m3it_jax.dataset_building.writing import rejections
from m3it_jax.dataset_building.writing.order import Order

TWO_SPLITS = "picture-in-two-splits"
_EDITABLE = ("instruction", "inputs", "outputs")

# Eight bytes of a picture's hash -> the splits, as bits by their place in schema.SPLITS, in which it stands.
Places = dict[bytes, int]


def digest(picture: bytes) -> bytes:
    """Returns eight bytes that stand for a picture: a table of millions fits into memory."""
    return hashlib.blake2b(picture, digest_size=8).digest()


def places(folder: records.DataFolder, source: str, on_record: Callable[[], None]) -> Places:
    """Returns in which splits of a source each picture stands; a blank one of our own does not count."""
    found: Places = {}
    for bit, split in enumerate(schema.SPLITS):
        for instance in copying.stored(folder.path, source, split):
            if not instance.meta.get("blank_picture"):
                for picture in instance.images:
                    key = digest(picture)
                    found[key] = found.get(key, 0) | 1 << bit
            on_record()
    return found


def report(folder: records.DataFolder, on_record: Callable[[], None]) -> dict[str, Any]:
    """Returns, for each source, its faults by split and reason, what lies in quarantine, and pictures in two splits.

    `overlaps` counts the pictures that two sources share across their train and another split: scores on the second are
    not of unseen pictures if the first was trained on.
    """
    told: dict[str, Any] = {"sources": {}, "overlaps": []}
    every: dict[str, Places] = {}
    for name in folder.sources:
        every[name] = places(folder, name, on_record)
        faults: dict[str, dict[str, int]] = {}
        for split in schema.SPLITS:
            counts = collections.Counter(
                code
                for instance in copying.stored(folder.path, name, split)
                for code, _ in _problems(instance, split, every[name])
            )
            if counts:
                faults[split] = dict(counts.most_common())
        lines = list(rejections.read(folder.source_path(name)))
        told["sources"][name] = {
            "faults": faults,
            "left_out": dict(collections.Counter(line["reason"] for line, _ in lines).most_common()),
            "quarantine": [
                {**line, **{field: getattr(instance, field) for field in _EDITABLE}}
                for line, instance in lines
                if instance is not None
            ],
        }
    for first, second in ((a, b) for a in every for b in every if a != b):
        shared = sum(1 for key, bits in every[first].items() if bits & 1 and every[second].get(key, 0) & ~1)
        if shared:
            told["overlaps"].append({"train": first, "held_out": second, "pictures": shared})
    return told


def _problems(instance: schema.Instance, split: str, found: Mapping[bytes, int]) -> Iterator[tuple[str, str]]:
    yield from quality.problems(instance)
    bit = 1 << schema.SPLITS.index(split)
    if split == "train" and not instance.meta.get("blank_picture"):
        for number, picture in enumerate(instance.images):
            if found.get(digest(picture), 0) & ~bit:
                yield TWO_SPLITS, f"images[{number}] stands in a held-out split too"
                return


def read_review(path: pathlib.Path) -> dict[str, dict[str, str]]:
    """Returns {id: texts that replace the record's} of a review file.

    Raises:
      UserError: it cannot be read, a line is no such object, or an id stands there twice.
    """
    found: dict[str, dict[str, str]] = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise errors.UserError(f"{path}: cannot be read ({error}); name a JSONL file") from error
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise errors.UserError(f"{path}:{number}: is no JSON ({error})") from error
        if not isinstance(row, dict) or "id" not in row or not all(isinstance(text, str) for text in row.values()):
            raise errors.UserError(f"{path}:{number}: must be an object of texts with an id")
        if unknown := set(row) - {"id", *_EDITABLE}:
            raise errors.UserError(f"{path}:{number}: {min(unknown)!r} must be one of id, {', '.join(_EDITABLE)}")
        if row["id"] in found:
            raise errors.UserError(f"{path}:{number}: {row['id']} stands there twice")
        found[row.pop("id")] = row
    return found


def order(folder: records.DataFolder, out: pathlib.Path, review: Mapping[str, Mapping[str, str]]) -> Order:
    """Returns the order of a clean copy: what has a fault goes into quarantine, what was reviewed comes back.

    Raises:
      UserError: a reviewed id is not in quarantine, or as `copying.order`.
    """
    held = {
        instance.id
        for name in folder.sources
        for _, instance in rejections.read(folder.source_path(name))
        if instance is not None
    }
    if missing := sorted(set(review) - held):
        more = f", nor are {len(missing) - 1} more" if len(missing) > 1 else ""
        raise errors.UserError(f"--admit: {missing[0]} is not in quarantine{more}; `m3it quality DATA --json` lists it")
    return copying.order(
        folder,
        out,
        _same,
        step="quality",
        about=f"faulty records were set aside, {len(review)} reviewed ones taken back",
        settings={"admitted": {key: dict(texts) for key, texts in sorted(review.items())}},
        rows=functools.partial(_reviewed, review=review),
    )


def _same(instance: schema.Instance) -> schema.Instance:
    return instance


def _reviewed(
    data: pathlib.Path, source: str, split: str, *, review: Mapping[str, Mapping[str, str]]
) -> Iterator[schema.Instance | Rejected]:
    """Yields the records of a split, then its quarantine: admitted ones as records, the others as they were."""
    folder = records.DataFolder.open(data)
    found = places(folder, source, lambda: None)
    for instance in copying.stored(data, source, split):
        problem = next((each for each in _problems(instance, split, found) if each[0] == TWO_SPLITS), None)
        yield Rejected(instance.meta.get("origin", "") or instance.id, *problem, instance) if problem else instance
    for line, held in rejections.read(folder.source_path(source)):
        if line["split"] != split:
            continue
        if held is None or held.id not in review:
            yield Rejected(line["place"], line["reason"], line["text"], held)
            continue
        meta = {**held.meta, "admitted": [*held.meta.get("admitted", ()), line["reason"]]}
        changes: dict[str, Any] = {**review[held.id], "meta": meta}
        yield dataclasses.replace(held, **changes)
