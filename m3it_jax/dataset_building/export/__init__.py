"""Data folder -> files that others read: Parquet for the hub, JSON lines like the released M3IT, WebDataset tars.

    OUT/README.md                               the card, with the header that the hub reads
    OUT/<source>/<split>-00000-of-00004.parquet
    OUT/export.json                             what was exported, each file's size and SHA-256, what each source was
                                                made from; written last

Files are made under `OUT/.exporting` and move when all of them are whole. A rerun goes on after the last whole file.
"""

import dataclasses
import importlib.util
import json
import os
import pathlib
import shutil
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from m3it_jax import errors, file_safety, progress, records, schema
from m3it_jax.dataset_building.export import card, jsonl, parquet, webdataset
from m3it_jax.dataset_building.writing import card as data_card

MANIFEST = "export.json"
VERSION = 1  # raised when the same records would give other files
SHARD_BYTES = 500_000_000  # what the hub advises for Parquet and WebDataset

_SCRATCH = ".exporting"
_ORDER = "order.json"
_LOCK = ".lock"


@dataclasses.dataclass(frozen=True)
class Format:
    """One form of export.

    Attributes:
      write: Writes one file from records in order.
      name: Name of a file, with `{split}`, `{shard}` and `{shards}`.
      shard_bytes: About how large a file becomes; None puts a whole split into one.
      package: What has to be installed beside the core; empty if nothing.
    """

    write: Callable[[pathlib.Path, Iterator[schema.Instance]], None]
    name: str
    shard_bytes: int | None = SHARD_BYTES
    package: str = ""


FORMATS: dict[str, Format] = {
    "parquet": Format(parquet.write, "{split}-{shard:05d}-of-{shards:05d}.parquet", package="pyarrow"),
    "jsonl": Format(jsonl.write, "{split}.jsonl", shard_bytes=None),
    "webdataset": Format(webdataset.write, "{split}-{shard:06d}.tar"),
}


@dataclasses.dataclass(frozen=True)
class Order:
    """What is to be exported.

    Attributes:
      folder: The data.
      out: Where to.
      format: A key of `FORMATS`.
      sources: Names of the sources.
      limit: Most records of a split; None for all.
    """

    folder: records.DataFolder
    out: pathlib.Path
    format: str
    sources: tuple[str, ...]
    limit: int | None = None

    def splits(self, source: str) -> dict[str, int]:
        """Returns the number of records of each split of a source, in the order of `schema.SPLITS`."""
        counts = self.folder.sources[source].splits
        names = [split for split in dict.fromkeys((*schema.SPLITS, *counts)) if counts.get(split)]
        return {split: min(counts[split], self.limit or counts[split]) for split in names}

    def decided_by(self) -> dict[str, Any]:
        """Returns what decides the files: an export that was made from something else is not taken for this one."""
        data = {name: self.folder.manifest.get(name, "") for name in ("name", "edition")}
        return {
            "format": self.format,
            "version": VERSION,
            "data": data | {"fingerprint": self.folder.fingerprint},
            "sources": list(self.sources),
            "limit": self.limit,
        }


@dataclasses.dataclass(frozen=True)
class Part:
    """One file: records `start` to `stop` of a split, of about `size` bytes; `name` is its path in OUT."""

    source: str
    split: str
    start: int
    stop: int
    name: str
    size: int


def order(
    folder: records.DataFolder, out: pathlib.Path, form: str, *, sources: list[str], limit: int | None = None
) -> Order:
    """Returns the order that exports the named sources, all if none is named.

    Raises:
      UserError: the data folder has no such source.
    """
    for source in sources:
        folder.source_path(source)
    return Order(folder, out, form, tuple(sorted(set(sources)) if sources else folder.sources), limit)


def parts(order: Order, source: str, split: str, *, table: records.RecordTable) -> list[Part]:
    """Returns the files of a split; their bounds depend on the records' sizes alone."""
    form = FORMATS[order.format]
    sizes = table.lengths[: order.splits(source)[split]]
    ends = np.cumsum(sizes)
    bounds = [0]
    if form.shard_bytes is not None:
        while ends[-1] - (before := ends[bounds[-1] - 1] if bounds[-1] else 0) > form.shard_bytes:
            # One record at least, however large.
            stop = max(bounds[-1] + 1, int(np.searchsorted(ends, before + form.shard_bytes, side="right")))
            if stop >= len(sizes):
                break
            bounds.append(stop)
    bounds.append(len(sizes))
    spans = list(zip(bounds, bounds[1:], strict=False))
    return [
        Part(
            source,
            split,
            start,
            stop,
            f"{source}/{form.name.format(split=split, shard=number, shards=len(spans))}",
            int(sizes[start:stop].sum()),
        )
        for number, (start, stop) in enumerate(spans)
    ]


def planned(order: Order) -> list[Part]:
    """Returns every file that the order makes; no record is read.

    Raises:
      UserError: a shard or an index of the data folder is missing or damaged.
    """
    return [
        part
        for source in order.sources
        for split in order.splits(source)
        for part in parts(order, source, split, table=order.folder.table(source, split))
    ]


def finished(order: Order) -> dict[str, Any] | None:
    """Returns the manifest of an export that was made by the same order before, or None if there is none.

    Raises:
      UserError: OUT holds something else, or a file of the export is not as it was.
    """
    file = order.out / MANIFEST
    if not file.exists():
        _refuse_strangers(order)
        return None
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
        same = {name: found[name] for name in order.decided_by()} == order.decided_by()
        sizes = {str(made["path"]): int(made["bytes"]) for made in found["files"]}
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise errors.UserError(f"{file}: is no export of ours ({error}); choose another folder") from error
    if not same:
        raise errors.UserError(f"{order.out}: holds another export; choose another folder or delete this one")
    for path, size in sizes.items():
        whole = order.out / path
        if not whole.is_file() or whole.stat().st_size != size:
            raise errors.UserError(f"{whole}: is not as it was exported; delete {order.out} and export again")
    return found


def _refuse_strangers(order: Order) -> None:
    if not order.out.is_dir():
        return
    allowed = {_LOCK, _SCRATCH}
    if _interrupted(order):  # a run that ended while it moved its whole files out
        allowed |= {*order.sources, card.FILE}
    strangers = sorted(path.name for path in order.out.iterdir() if path.name not in allowed)
    if strangers:
        listed = ", ".join(strangers[:3]) + (", ..." if len(strangers) > 3 else "")
        raise errors.UserError(f"{order.out}: holds {listed}; choose an empty folder")


def _interrupted(order: Order) -> bool:
    """Returns whether a run of the same order was cut off here."""
    try:
        text = (order.out / _SCRATCH / _ORDER).read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return False
    return text == json.dumps(order.decided_by())


def export(order: Order) -> dict[str, Any]:
    """Writes what is missing of an export and returns its manifest.

    Raises:
      UserError: a package is missing, OUT is in use or holds something else, or a record of the data is damaged.
    """
    form = FORMATS[order.format]
    if form.package and importlib.util.find_spec(form.package) is None:
        raise errors.UserError(
            f"package {form.package} is needed to write {order.format}: pip install -e '.[build]' in the repository"
        )
    with file_safety.held(order.out, doing="exporting", instead="folder"):
        if (found := finished(order)) is not None:
            return found
        provenance = {source: order.folder.provenance(source) for source in order.sources}
        scratch = order.out / _SCRATCH
        if not _interrupted(order):
            shutil.rmtree(scratch, ignore_errors=True)
            scratch.mkdir()
            file_safety.write_whole(scratch / _ORDER, json.dumps(order.decided_by()))
        bill = data_card.bill_of_materials(provenance)
        manifest = order.decided_by() | {"files": _write_files(order), "bill_of_materials": bill}
        for source in order.sources:
            if (scratch / source).exists():
                os.replace(scratch / source, order.out / source)
        file_safety.write_whole(order.out / card.FILE, card.text(order.folder.manifest, manifest, provenance))
        text = json.dumps(manifest, ensure_ascii=False, indent=2) + "\n"
        file_safety.write_whole(order.out / MANIFEST, text)
        shutil.rmtree(scratch)
    return manifest


def _write_files(order: Order) -> list[dict[str, Any]]:
    """Writes every file that is not there yet and returns what the manifest says about each."""
    total = sum(sum(order.splits(source).values()) for source in order.sources)
    files = []
    with progress.Progress(total, "records") as shown:
        for source in order.sources:
            for split in order.splits(source):
                table = order.folder.table(source, split)
                for part in parts(order, source, split, table=table):
                    files.append(_write_file(order, part, table=table, shown=shown))
    return files


def _write_file(order: Order, part: Part, *, table: records.RecordTable, shown: progress.Progress) -> dict[str, Any]:
    def rows() -> Iterator[schema.Instance]:
        for number in range(part.start, part.stop):
            yield table.read(number)
            shown.update()

    made = order.out / _SCRATCH / part.name
    final = order.out / part.name
    if final.exists():
        made = final
    if made.exists():
        shown.update(part.stop - part.start)
    else:
        made.parent.mkdir(exist_ok=True)
        partial = made.with_name(made.name + ".partial")
        try:
            FORMATS[order.format].write(partial, rows())
            os.replace(partial, made)
        finally:
            partial.unlink(missing_ok=True)
    return {
        "path": part.name,
        "source": part.source,
        "split": part.split,
        "records": part.stop - part.start,
        "bytes": made.stat().st_size,
        "sha256": file_safety.sha256(made),
    }
