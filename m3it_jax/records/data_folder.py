"""The folder that `m3it mini`, `build` and `import` write: its manifest, its sources, and their records.

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
import pathlib
from collections.abc import Mapping
from typing import Any

from m3it_jax import errors, file_safety, schema
from m3it_jax.records.shard_index import INDEX_SUFFIX
from m3it_jax.records.table import RecordTable

MANIFEST = "m3it.json"
PROVENANCE = "provenance.json"


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
        file_safety.check_local(path, "data folder")
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

    def most_turns(self, source: str, split: str) -> int:
        """Returns the most turns that a record of a split has, as the builder noted; 1 where nothing is noted.

        Raises:
          UserError: the data folder has no such source, or its provenance is damaged.
        """
        if not (self.source_path(source) / PROVENANCE).exists():  # a folder from elsewhere may have none
            return 1
        told = self.provenance(source).get("statistics", {}).get(split, {})
        return int(told.get("conversations", {}).get("most", 1))

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
