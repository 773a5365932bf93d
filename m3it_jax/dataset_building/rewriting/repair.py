"""What can be saved of a damaged data folder: every sound record is copied, every lost one is listed."""

import json
import pathlib
from collections.abc import Iterator
from typing import Any

from m3it_jax import errors, records, schema
from m3it_jax.dataset_building.rewriting import copying
from m3it_jax.dataset_building.specification import Rejected
from m3it_jax.dataset_building.writing.order import Order
from m3it_jax.records import framing

_LISTED = ("version", "task", "language", "licence", "citation", "url", "splits", "fingerprint", "instructions")


def order(data: pathlib.Path, out: pathlib.Path) -> tuple[Order, list[str]]:
    """Returns the order that copies what is sound, and the sources of which nothing is.

    What is lost stands in `rejected.jsonl` of each source. The manifest is made anew from the sources' provenance if it
    is damaged.

    Raises:
      UserError: there is no data folder, nothing of it can be read, or `out` lies in it.
    """
    folder = opened(data)
    lost = [name for name in folder.sources if not _anything(folder, name)]
    if len(lost) == len(folder.sources):
        raise errors.UserError(f"{data}: holds no record that can be read; build it again")
    manifest = {**folder.manifest, "sources": {n: s for n, s in folder.manifest["sources"].items() if n not in lost}}
    tokenizer = folder.tokenizer_path
    if tokenizer is not None and not tokenizer.is_file():
        manifest.pop("tokenizer")
    kept = records.DataFolder(folder.path, manifest)
    made = copying.order(kept, out, _same, step="repair", about="every sound record was copied", rows=sound)
    return made, lost


def opened(data: pathlib.Path) -> records.DataFolder:
    """Returns a data folder even if its manifest is damaged, as long as the sources' provenance can be read.

    Raises:
      UserError: neither can be read.
    """
    try:
        return records.DataFolder.open(data)
    except errors.UserError as error:
        manifest: dict[str, Any] = {"name": data.name, "edition": "repaired", "sources": {}}
        for file in sorted(data.glob("*/*/provenance.json")):
            try:
                made = json.loads(file.read_text(encoding="utf-8"))
                manifest["sources"][made["source"]] = {key: made[key] for key in _LISTED}
            except (OSError, ValueError, KeyError, TypeError):
                continue
        if not manifest["sources"]:
            raise error
        return records.DataFolder(data, manifest)


def sound(data: pathlib.Path, source: str, split: str) -> Iterator[schema.Instance | Rejected]:
    """Yields every record of a split whose checksums hold, and what is lost.

    Neither an index nor the number of shards is trusted. Where there is an index, each lost record is named by its
    number, place and id; without one, only the places of the damage are known.
    """
    folder = opened(data)
    for shard in _shards(folder, source, split):
        name = shard.relative_to(data)
        listed = _listed(shard)
        for offset, serialized in framing.salvage(shard):
            if serialized is None:
                if offset not in listed:
                    yield Rejected(f"{name} at byte {offset}", "damaged", "the checksums do not hold from here on")
                continue
            try:
                yield records.decode(serialized)
                listed.pop(offset, None)
            except (ValueError, TypeError) as error:
                yield Rejected(f"{name} at byte {offset}", "wrong-schema", str(error))
        for offset, (number, record_id) in listed.items():
            yield Rejected(f"{name} record {number} at byte {offset}", "damaged", f"{record_id} is lost")


def _listed(shard: pathlib.Path) -> dict[int, tuple[int, str]]:
    """Returns {offset: (number, id)} of the records that the index of a shard names; empty without a sound one."""
    try:
        index = records.load_index(shard)
    except errors.UserError:
        return {}
    places = zip(index.offsets.tolist(), index.ids.tolist(), strict=True)
    return {offset: (number, record_id) for number, (offset, record_id) in enumerate(places)}


def _shards(folder: records.DataFolder, source: str, split: str) -> list[pathlib.Path]:
    found = folder.source_path(source).glob(f"*-{split}.tfrecord-*")
    return sorted(path for path in found if not path.name.endswith(records.INDEX_SUFFIX))


def _anything(folder: records.DataFolder, source: str) -> bool:
    rows = (row for split in schema.SPLITS for row in sound(folder.path, source, split))
    return any(isinstance(row, schema.Instance) for row in rows)


def _same(instance: schema.Instance) -> schema.Instance:
    return instance
