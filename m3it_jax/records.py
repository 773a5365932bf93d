"""Instance <-> tf.train.Example, an offset index beside each TFRecord shard, and a CRC-checked reader by number.

A data folder is what `m3it mini` and `m3it build` write:

    DATA/m3it.json                       what is in it (below)
    DATA/README.md                       the card
    DATA/tokenizer.model                 SentencePiece, if the folder has one of its own
    DATA/<source>/<version>/             a TFDS data set: dataset_info.json, features.json, *.tfrecord-00000-of-00001,
                                         one *.index.npz beside each shard, provenance.json

`m3it.json`:

    {"schema_version": 1, "name": "m3it-mini", "edition": "full",
     "sources": {NAME: {"version": "1.0.0", "task": "vqa", "language": "en", "licence": "MIT", "citation": "...",
                        "url": "...", "splits": {"train": 14000, "validation": 120, "test": 400},
                        "fingerprint": SHA-256 over the hashes of the source's shards,
                        "instructions": [the pool: each suits every record of the source, so an epoch may redraw]}},
     "tokenizer": {"file": "tokenizer.model", "sha256": "..."},
     "attributes": {"shape": ["circle", "rectangle", "triangle"], ...}}   label tables, from the train split only
"""

import dataclasses
import hashlib
import json
import os
import pathlib
import threading
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from m3it_jax import errors, framing, schema

# What a data folder is made of: whoever has the folder has these through this module.
from m3it_jax.examples import decode as decode
from m3it_jax.examples import encode as encode
from m3it_jax.examples import to_features as to_features
from m3it_jax.shard_index import INDEX_SUFFIX as INDEX_SUFFIX
from m3it_jax.shard_index import Rows
from m3it_jax.shard_index import ShardIndex as ShardIndex
from m3it_jax.shard_index import index_path as index_path
from m3it_jax.shard_index import load_index as load_index
from m3it_jax.shard_index import read_index as read_index

MANIFEST = "m3it.json"
PROVENANCE = "provenance.json"


def write_index(shard: pathlib.Path, on_record: Callable[[schema.Instance], None] = lambda _: None) -> ShardIndex:
    """Reads a shard once, checks it, writes its index beside it and returns it; `on_record` sees every record.

    Raises:
      BrokenRecordError: a record of the shard does not hold.
    """
    rows = Rows()
    for record, (offset, data) in enumerate(framing.scan(shard)):
        try:
            instance = decode(data)
        except ValueError as error:
            raise framing.BrokenRecordError(shard, record=record, offset=offset, reason=str(error)) from error
        on_record(instance)
        rows.add(instance.id, len(data), len(instance.images))
    rows.store(shard)
    return load_index(shard)


def normalise(shard: pathlib.Path) -> None:
    """Writes a shard again with the fields of each record in a fixed order.

    Protocol buffers write the entries of a map in an order that differs between processes, so two builds of the same
    records would differ in their bytes.

    Raises:
      BrokenRecordError: a record of the shard does not hold.
    """
    partial = shard.with_name(shard.name + ".partial")
    with open(partial, "wb") as file:
        for _, data in framing.scan(shard):
            file.write(framing.frame(encode(decode(data))))
    os.replace(partial, shard)


class RecordTable:
    """The records of one split of one source, read by number in any order. Reading is safe from several threads.

    Attributes:
      ids: array of text, the records' ids.
      num_images: int32 array, pictures of each record.
      lengths: int64 array, bytes of each serialized record.
    """

    def __init__(self, shards: list[pathlib.Path]):
        """Reads the indices of the shards; the shards themselves are opened with the first record.

        Raises:
          UserError: a shard or an index is missing or damaged.
        """
        self._shards = shards
        indices = [read_index(shard) for shard in shards]
        self.ids = np.concatenate([index.ids for index in indices])
        self.num_images = np.concatenate([index.num_images for index in indices])
        self._offsets = np.concatenate([index.offsets for index in indices])
        self.lengths = np.concatenate([index.lengths for index in indices])
        counts = [len(index.ids) for index in indices]
        self._shard_of = np.repeat(np.arange(len(shards)), counts)
        self._first = np.concatenate([[0], np.cumsum(counts)])
        self._files: dict[int, Any] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        """Returns the number of records."""
        return len(self.ids)

    def __getstate__(self) -> dict[str, Any]:
        """Leaves the open files behind, so that a table may be handed to another process."""
        return {key: value for key, value in self.__dict__.items() if key not in ("_files", "_lock")}

    def __setstate__(self, state: Mapping[str, Any]) -> None:
        """Takes what `__getstate__` gave."""
        self.__dict__.update(state, _files={}, _lock=threading.Lock())

    def read_bytes(self, number: int) -> bytes:
        """Returns the serialized record `number` (from 0) after its checksums held.

        Raises:
          BrokenRecordError: they did not.
        """
        shard = int(self._shard_of[number])
        offset, length = int(self._offsets[number]), int(self.lengths[number])
        with self._lock:
            if shard not in self._files:
                self._files[shard] = open(self._shards[shard], "rb")
        frame = os.pread(self._files[shard].fileno(), framing.HEADER_BYTES + length + framing.FOOTER_BYTES, offset)
        if reason := framing.frame_problem(frame, length):
            raise self._broken(number, reason)
        return frame[framing.HEADER_BYTES : framing.HEADER_BYTES + length]

    def read(self, number: int) -> schema.Instance:
        """Returns record `number` (from 0).

        Raises:
          BrokenRecordError: its checksums do not hold, or it has another schema.
        """
        try:
            return decode(self.read_bytes(number))
        except ValueError as error:
            raise self._broken(number, str(error)) from error

    def _broken(self, number: int, reason: str) -> framing.BrokenRecordError:
        shard = int(self._shard_of[number])
        record, offset = int(number - self._first[shard]), int(self._offsets[number])
        return framing.BrokenRecordError(self._shards[shard], record=record, offset=offset, reason=reason)


@dataclasses.dataclass(frozen=True)
class SourceInfo:
    """One source of a data folder, as `m3it.json` lists it; `splits` maps a split to its number of records."""

    version: str
    task: str
    language: str
    splits: Mapping[str, int]
    fingerprint: str
    instructions: tuple[str, ...]
    licence: str = ""
    citation: str = ""
    url: str = ""


def shard_paths(folder: pathlib.Path, split: str) -> list[pathlib.Path]:
    """Returns the shards of a split in a source's version folder, in order.

    Raises:
      UserError: there is none, or one of a numbered set is missing.
    """
    found = sorted(path for path in folder.glob(f"*-{split}.tfrecord-*") if not path.name.endswith(INDEX_SUFFIX))
    if not found:
        raise errors.UserError(f"{folder}: has no shard of split {split!r}; build the data folder again")
    total = int(found[0].name.rsplit("-of-", 1)[1])
    if len(found) != total:
        raise errors.UserError(f"{folder}: has {len(found)} of {total} shards of split {split!r}; build it again")
    return found


class DataFolder:
    """A data folder whose manifest was read and understood.

    Attributes:
      path: where it is.
      manifest: the whole of `m3it.json`.
      sources: name -> SourceInfo, in order of name.
      attributes: label tables, name -> values; a value's place is its label.
      tokenizer_path: its SentencePiece model, or None.
      fingerprint: changes whenever a record, a source's version, the pools of instructions or the tokenizer change.
    """

    def __init__(self, path: pathlib.Path, manifest: dict[str, Any]):
        """Takes a manifest that `open` has checked."""
        self.path = path
        self.manifest = manifest
        fields = {field.name for field in dataclasses.fields(SourceInfo)}
        self.sources = {
            name: SourceInfo(
                **{key: value for key, value in info.items() if key in fields and key != "instructions"},
                instructions=tuple(info["instructions"]),
            )
            for name, info in sorted(manifest["sources"].items())
        }
        self.attributes: dict[str, list[Any]] = manifest.get("attributes", {})
        tokenizer = manifest.get("tokenizer")
        self.tokenizer_path = path / tokenizer["file"] if tokenizer else None
        parts = [manifest["sources"], self.attributes, tokenizer]
        self.fingerprint = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @classmethod
    def open(cls, path: str | pathlib.Path) -> "DataFolder":
        """Returns the data folder at `path`; no record is read.

        Raises:
          UserError: there is none, its manifest is damaged, or it was written with another record schema.
        """
        folder = pathlib.Path(path)
        file = folder / MANIFEST
        try:
            manifest = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise errors.UserError(f"{file}: is missing; make the data folder with `m3it mini {folder}`") from error
        except (OSError, ValueError) as error:
            raise errors.UserError(f"{file}: cannot be read ({error}); build the data folder again") from error
        version = manifest.get("schema_version") if isinstance(manifest, dict) else None
        if version != schema.SCHEMA_VERSION:
            wanted = schema.SCHEMA_VERSION
            raise errors.UserError(f"{file}: schema_version is {version!r}, must be {wanted}; build the folder again")
        try:
            return cls(folder, manifest)
        except (KeyError, TypeError, AttributeError) as error:
            raise errors.UserError(f"{file}: field {error} is missing or wrong; build the data folder again") from error

    def source_path(self, source: str) -> pathlib.Path:
        """Returns the folder of a source, which TFDS opens by itself.

        Raises:
          UserError: the data folder has no such source.
        """
        if source not in self.sources:
            raise errors.UserError(f"{self.path}: has no source {source!r}; it has {', '.join(self.sources)}")
        return self.path / source / self.sources[source].version

    def provenance(self, source: str) -> dict[str, Any]:
        """Returns what the builder noted about a source: counts, rejected rows by reason, statistics, settings.

        Raises:
          UserError: the data folder has no such source, or the file is missing or damaged.
        """
        file = self.source_path(source) / PROVENANCE
        try:
            found = json.loads(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise errors.UserError(f"{file}: cannot be read ({error}); build the source again") from error
        if not isinstance(found, dict):
            raise errors.UserError(f"{file}: holds no JSON object; build the source again")
        return found

    def table(self, source: str, split: str) -> RecordTable:
        """Returns the records of one split of a source.

        Raises:
          UserError: no such source or split, a shard or an index is missing or damaged, or counts do not agree.
        """
        folder = self.source_path(source)
        splits = self.sources[source].splits
        if split not in splits:
            raise errors.UserError(f"{folder}: has no split {split!r}; it has {', '.join(splits)}")
        table = RecordTable(shard_paths(folder, split))
        if len(table) != splits[split]:
            counts = f"{len(table)} records, {MANIFEST} says {splits[split]}"
            raise errors.UserError(f"{folder}: split {split!r} has {counts}; build the data folder again")
        return table
