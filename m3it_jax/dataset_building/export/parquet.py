"""Parquet as the hub takes it: `images` is a list of its `Image` feature, so nothing has to be told to open a file."""

import json
import pathlib
from collections.abc import Iterator
from typing import Any

from m3it_jax import records, schema
from m3it_jax.dataset_building.media import pictures

TEXTS = ("id", "source", "task", "language", "instruction", "inputs", "outputs", "meta")

# The features as `datasets` reads them from a file's schema (datasets, features/features.py). "Sequence" is what
# versions before and after 4.0 both understand; 4.0 calls it List.
FEATURES: dict[str, Any] = {name: {"dtype": "string", "_type": "Value"} for name in TEXTS} | {
    "images": {"feature": {"_type": "Image"}, "_type": "Sequence"}
}

# CHOICE: a row group is what a reader and this writer hold in memory at once.
GROUP_BYTES, GROUP_ROWS = 32 << 20, 1000

_REPEATED = ("source", "task", "language", "instruction")  # few different values: worth a dictionary


def write(path: pathlib.Path, rows: Iterator[schema.Instance]) -> None:
    """Writes one Parquet file. The same rows and the same version of pyarrow give the same bytes."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    picture = pa.struct({"bytes": pa.binary(), "path": pa.string()})
    columns = pa.schema({name: pa.string() for name in TEXTS} | {"images": pa.list_(picture)})
    columns = columns.with_metadata({"huggingface": json.dumps({"info": {"features": FEATURES}})})
    # Pictures are compressed already: a second time costs seconds and gains nothing.
    compression = {name: "zstd" for name in (*TEXTS, "images.list.element.path")}
    compression["images.list.element.bytes"] = "none"
    with pq.ParquetWriter(path, columns, compression=compression, use_dictionary=list(_REPEATED)) as writer:
        for group in _groups(rows):
            writer.write_table(pa.Table.from_pylist(group, columns))


def _groups(rows: Iterator[schema.Instance]) -> Iterator[list[dict[str, Any]]]:
    """Yields the rows in portions of at most `GROUP_ROWS` that end with the row that reaches `GROUP_BYTES`."""
    group: list[dict[str, Any]] = []
    size = 0
    for instance in rows:
        group.append(_row(instance))
        size += sum(map(len, instance.images))
        if size >= GROUP_BYTES or len(group) >= GROUP_ROWS:
            yield group
            group, size = [], 0
    if group:
        yield group


def _row(instance: schema.Instance) -> dict[str, Any]:
    images = [
        {"bytes": data, "path": f"{number}.{pictures.extension(data)}"} for number, data in enumerate(instance.images)
    ]
    return records.to_features(instance) | {"images": images}
