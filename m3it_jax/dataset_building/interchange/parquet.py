"""Parquet with pictures inside: the copy HuggingFaceM4/M3IT, and what `m3it export parquet` writes.

A picture column is the hub's `Image` feature, {bytes, path}, or a list of it. Files of our own bring whole records, and
each source of theirs is a source again; of others, all files are one source.
"""

import functools
from collections.abc import Iterator
from typing import Any

from m3it_jax import errors, schema
from m3it_jax.dataset_building.interchange import json_rows, m3it_rules, own, request
from m3it_jax.dataset_building.publishers import raw
from m3it_jax.dataset_building.specification import Assets, Draft, Rejected, RowError, SourceSpec

_PICTURE_COLUMNS = ("images", "image")

# CHOICE: rows that are held at once; sixteen with eight frames of 500 KB each are 64 MB.
BATCH_ROWS = 16


def specs(asked: request.Request) -> list[SourceSpec]:
    """Returns the sources of the files.

    Raises:
      UserError: a path is missing, a file is no Parquet or has no picture column, or pyarrow is not installed.
    """
    files = request.files(asked, suffixes=(".parquet",), default_split="train")
    mine: dict[str, list[request.File]] = {}
    first: dict[str, Any] = {}
    others = []
    for file in files:
        table = _opened(file)
        if not set(_PICTURE_COLUMNS) & set(table.schema_arrow.names):
            raise errors.UserError(f"{file.path}: has no column {' or '.join(_PICTURE_COLUMNS)}")
        if set(own.TEXTS) <= set(table.schema_arrow.names) and table.metadata.num_rows:
            row = next(table.iter_batches(1, columns=list(own.TEXTS))).to_pylist()[0]
            first.setdefault(str(row["source"]), row)
            mine.setdefault(str(row["source"]), []).append(file)
        else:
            others.append(file)
    found = [
        request.own_spec(asked, inside, functools.partial(drafts, files=tuple(inside), source=name), row=first[name])
        for name, inside in mine.items()
    ]
    if others:
        make = functools.partial(drafts, files=tuple(others), source=asked.name())
        found.append(request.spec(asked, others, make, task="generation"))
    return found


def _opened(file: request.File) -> Any:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise errors.UserError("package pyarrow is needed to read Parquet: pip install 'm3it_jax[build]'") from error
    try:
        return pq.ParquetFile(file.path, pre_buffer=False, buffer_size=1 << 20)
    except (OSError, pa.ArrowException) as error:
        raise errors.UserError(f"{file.path}: is no whole Parquet file ({error}); get it again") from error


def drafts(
    assets: Assets, split: str, seed: int, *, files: tuple[request.File, ...], source: str
) -> Iterator[Draft | schema.Instance | Rejected]:
    """Yields the rows of a split, in the files' order; what a damaged file holds behind the damage is told as lost."""
    del assets, seed
    for file in files:
        if file.split != split:
            continue
        number, table = 0, _opened(file)
        try:
            wanted = [name for name in table.schema_arrow.names if name in _columns()]
            for batch in table.iter_batches(BATCH_ROWS, columns=wanted, use_threads=False):
                for row in batch.to_pylist():
                    yield _row(f"{json_rows.name_of(file.path)}:{number}", row, source=source, split=split)
                    number += 1
        except (OSError, ValueError) as error:  # pyarrow's own errors are of both kinds
            lost = table.metadata.num_rows - number
            text = f"{lost} rows cannot be read ({str(error)[:200]}); get the file again"
            yield Rejected(f"{json_rows.name_of(file.path)}:{number}", "broken-file", text)


def _columns() -> set[str]:
    texts = (*own.TEXTS, *m3it_rules.INPUT_KEYS, *m3it_rules.OUTPUT_KEYS)
    return {*texts, *_PICTURE_COLUMNS}


def _row(place: str, row: dict[str, Any], *, source: str, split: str) -> Draft | schema.Instance | Rejected:
    try:
        images = tuple(_bytes(each) for each in m3it_rules.picture_field(row, _PICTURE_COLUMNS))
        if own.is_own(row):
            return own.instance(row, images, source=source)
        outputs = m3it_rules.first(row, m3it_rules.OUTPUT_KEYS)
        if not outputs:
            raise RowError("missing-field", f"has no text under any of {', '.join(m3it_rules.OUTPUT_KEYS)}")
        return Draft(
            skill=source,
            inputs=m3it_rules.first(row, m3it_rules.INPUT_KEYS),
            outputs=outputs,
            images=images,
            group=request.group_of(images),
            instruction=raw.field(row, "instruction").strip(),
            origin=place,
            origin_split=split,
        )
    except RowError as error:
        return Rejected(place, error.reason, str(error))


def _bytes(value: Any) -> bytes:
    data = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(data, bytes) or not data:
        raise RowError("picture-missing", "a picture has no bytes: the file names a path elsewhere")
    if len(data) > raw.MAX_PICTURE_BYTES:
        raise RowError("picture-too-large", f"a picture has {len(data)} bytes")
    return data
