"""Verification of a written data folder: every checksum, count, hash and record. All problems are told."""

import hashlib
import json
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

from m3it_jax import errors, file_safety, records, schema, tokenizer
from m3it_jax.dataset_building.steps import quality
from m3it_jax.records import framing

Problem = dict[str, Any]

_PROVENANCE = "provenance.json"
_INFO = "dataset_info.json"


def check_folder(path: pathlib.Path, *, limit: int | None = None, on_record: Callable[[], None]) -> list[Problem]:
    """Returns what is broken in a data folder: {"file", "record", "offset", "reason"}; empty if it is sound.

    `file` is relative to the folder, `record` counts from 0 within its shard, `offset` is in bytes; both are None where
    a whole file is meant. With `limit` only the first records of each split are decoded, yet all bytes are hashed.
    """
    try:
        folder = records.DataFolder.open(path)
    except errors.UserError as error:
        return [_problem(path / records.MANIFEST, str(error), root=path)]
    found = list(_check_tokenizer(folder))
    for name in folder.sources:
        found += _Source(folder, name, limit=limit, on_record=on_record).problems()
    return found


def shard_problems(path: pathlib.Path, source: str, split: str) -> list[Problem]:
    """Returns what is broken in the shards of one split of a source, as `check_folder` does; hashes are not compared.

    Raises:
      UserError: the folder's manifest cannot be read, or a shard is missing.
    """
    folder = records.DataFolder.open(path)
    checked = _Source(folder, source, limit=None, on_record=lambda: None)
    shards = records.shard_paths(folder.source_path(source), split)
    return [problem for shard in shards for problem in checked.check_shard(shard) if problem is not None]


def _problem(
    file: pathlib.Path, reason: str, *, root: pathlib.Path, record: int | None = None, offset: int | None = None
) -> Problem:
    name = str(file.relative_to(root)) if file.is_relative_to(root) else str(file)
    return {"file": name, "record": record, "offset": offset, "reason": reason}


def _check_tokenizer(folder: records.DataFolder) -> Iterator[Problem]:
    path = folder.tokenizer_path
    if path is None:
        return
    try:
        loaded = tokenizer.Tokenizer.load(path)
    except errors.UserError as error:
        yield _problem(path, str(error), root=folder.path)
        return
    if loaded.fingerprint != folder.manifest["tokenizer"]["sha256"]:
        yield _problem(path, f"hash: is not the one that {records.MANIFEST} names", root=folder.path)


class _Source:
    """The check of one source of a data folder."""

    def __init__(
        self, folder: records.DataFolder, name: str, *, limit: int | None, on_record: Callable[[], None]
    ) -> None:
        self._root = folder.path
        self._name = name
        self._info = folder.sources[name]
        self._path = folder.source_path(name)
        self._limit = limit
        self._on_record = on_record
        self._seen: set[str] = set()

    def problems(self) -> Iterator[Problem]:
        """Yields every problem of the source."""
        if not self._path.is_dir():
            yield self._tell(self._path, "the folder of the source is missing")
            return
        made = self._json(_PROVENANCE)
        info = self._json(_INFO)
        if isinstance(made, str) or isinstance(info, str):
            yield from (self._tell(self._path / name, text) for name, text in _texts(made, info))
            return
        yield from self._check_hashes(made)
        for split, count in self._info.splits.items():
            yield from self._check_split(split, count, info=info, hashes=made.get("shards", {}))
        listed = {*made.get("shards", {}), *made.get("files", {}), _PROVENANCE}
        for file in sorted(self._path.iterdir()):
            if made.get("files") and file.name not in listed:
                yield self._tell(file, "is no file of this source; remove it")

    def _tell(
        self, file: pathlib.Path, reason: str, record: int | None = None, *, offset: int | None = None
    ) -> Problem:
        return _problem(file, reason, root=self._root, record=record, offset=offset)

    def _json(self, name: str) -> dict[str, Any] | str:
        """Returns a JSON object of the source's folder, or what is wrong with it."""
        try:
            value = json.loads((self._path / name).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return "is missing"
        except (OSError, ValueError) as error:
            return f"cannot be read: {error}"
        return value if isinstance(value, dict) else "is no JSON object"

    def _check_hashes(self, made: dict[str, Any]) -> Iterator[Problem]:
        """Checks the small files' hashes and the fingerprint; the shards' hashes come after their records."""
        for name, wanted in made.get("files", {}).items():
            path = self._path / name
            if not path.exists():
                yield self._tell(path, "is missing")
            elif file_safety.sha256(path) != wanted:
                yield self._tell(path, f"hash: is not the one that {_PROVENANCE} names")
        text = json.dumps(made.get("shards", {}), sort_keys=True)
        if not self._info.fingerprint == made.get("fingerprint") == hashlib.sha256(text.encode()).hexdigest():
            yield self._tell(self._path / _PROVENANCE, f"fingerprint: does not agree with {records.MANIFEST}")

    def _check_split(
        self, split: str, count: int, *, info: dict[str, Any], hashes: dict[str, str]
    ) -> Iterator[Problem]:
        self._seen = set()
        try:
            shards = records.shard_paths(self._path, split)
        except errors.UserError as error:
            yield self._tell(self._path, str(error))
            return
        lengths = [
            int(number)
            for entry in info.get("splits", [])
            if entry.get("name") == split
            for number in entry["shardLengths"]
        ]
        total = 0
        for position, shard in enumerate(shards):
            found: list[Problem] = []
            read = 0
            for problem in self.check_shard(shard):
                if problem is None:
                    read += 1
                else:
                    found.append(problem)
            total += read + len({problem["record"] for problem in found if problem["record"] is not None})
            # A hash that differs says no more than a broken record, but it catches what no record shows.
            if not found and file_safety.sha256(shard) != hashes.get(shard.name):
                found.append(self._tell(shard, f"hash: is not the one that {_PROVENANCE} names"))
            if not found and self._limit is None and lengths[position : position + 1] != [read]:
                found.append(
                    self._tell(shard, f"count: has {read} records, {_INFO} says {lengths[position : position + 1]}")
                )
            yield from found
        if self._limit is None and total != count:
            yield self._tell(self._path, f"count: split {split} has {total} records, {records.MANIFEST} says {count}")

    def check_shard(self, shard: pathlib.Path) -> Iterator[Problem | None]:
        """Yields None for each sound record and every problem otherwise."""
        try:
            index = records.load_index(shard)
        except errors.UserError as error:
            yield self._tell(records.index_path(shard), str(error))
            yield from self._check_without_index(shard)
            return
        expected = 0
        with open(shard, "rb") as file:
            for record, (offset, length) in enumerate(zip(index.offsets.tolist(), index.lengths.tolist(), strict=True)):
                if self._limit is not None and record >= self._limit:
                    break
                if offset != expected or length < 0:
                    reason = f"index: begins record {record} at byte {offset}, after the one before it comes {expected}"
                    yield self._tell(records.index_path(shard), reason, record, offset=offset)
                    return
                file.seek(offset)
                frame = file.read(framing.HEADER_BYTES + length + framing.FOOTER_BYTES)
                expected = offset + framing.HEADER_BYTES + length + framing.FOOTER_BYTES
                broken = framing.frame_problem(frame, length)
                if broken:
                    yield self._tell(shard, f"framing: {broken}", record, offset=offset)
                else:
                    data = frame[framing.HEADER_BYTES : framing.HEADER_BYTES + length]
                    listed = str(index.ids[record]), int(index.num_images[record])
                    yield from self._check_record(shard, data, record=record, offset=offset, listed=listed)
                self._on_record()
        size = shard.stat().st_size
        if size > index.end():
            yield self._tell(shard, f"framing: {size - index.end()} bytes follow the last record", offset=index.end())

    def _check_without_index(self, shard: pathlib.Path) -> Iterator[Problem | None]:
        try:
            for record, (offset, data) in enumerate(framing.scan(shard)):
                yield from self._check_record(shard, data, record=record, offset=offset, listed=None)
                self._on_record()
        except framing.BrokenRecordError as error:
            reason = f"framing: {error.reason}; without an index nothing after it can be read"
            yield self._tell(shard, reason, error.record, offset=error.offset)

    def _check_record(
        self, shard: pathlib.Path, data: bytes, *, record: int, offset: int, listed: tuple[str, int] | None
    ) -> Iterator[Problem | None]:
        try:
            instance = records.decode(data)
        except (ValueError, TypeError) as error:
            yield self._tell(shard, f"schema: {error}", record, offset=offset)
            return
        reasons = [f"{code}: {text}" for code, text in quality.problems(instance)]
        reasons += self._about_folder(instance, listed)
        self._seen.add(instance.id)
        yield from (self._tell(shard, reason, record, offset=offset) for reason in reasons)
        if not reasons:
            yield None

    def _about_folder(self, instance: schema.Instance, listed: tuple[str, int] | None) -> Iterator[str]:
        """Yields what does not fit between a record and the folder it lies in."""
        if instance.source != self._name:
            yield f"wrong-source: says it is of {instance.source!r}"
        if instance.task != self._info.task:
            yield f"wrong-task: task is {instance.task!r}, the source's is {self._info.task!r}"
        if instance.id in self._seen:
            yield f"duplicate-id: {instance.id} stands in this split twice"
        if listed is not None and listed != (instance.id, len(instance.images)):
            yield f"index: lists {listed}, the record has {(instance.id, len(instance.images))}"


def _texts(made: dict[str, Any] | str, info: dict[str, Any] | str) -> Iterator[tuple[str, str]]:
    for name, value in ((_PROVENANCE, made), (_INFO, info)):
        if isinstance(value, str):
            yield name, value
