"""Rows that this program exported, as JSON lines or Parquet: the records come back as they were, ids included."""

import json
from collections.abc import Mapping
from typing import Any

from m3it_jax import schema
from m3it_jax.dataset_building.publishers import raw
from m3it_jax.dataset_building.specification import RowError

# What a row of ours has beside its pictures (dataset_building/export).
TEXTS = ("id", "source", "task", "language", "instruction", "inputs", "outputs", "meta")


def is_own(row: object) -> bool:
    """Returns whether a row has every field of a record."""
    return isinstance(row, Mapping) and set(TEXTS) <= set(row)


def instance(row: Mapping[str, Any], images: tuple[bytes, ...], *, source: str) -> schema.Instance:
    """Returns the record that a row holds.

    Raises:
      RowError: `wrong-type`, `bad-meta`, `bad-text`, or `wrong-source`: it is of another source than its file.
    """
    texts = {name: raw.field(row, name) for name in TEXTS}
    if texts["source"] != source:
        raise RowError("wrong-source", f"is of source {texts['source'][:80]!r}, its file of {source!r}")
    if not all(map(schema.encodable, texts.values())):
        raise RowError("bad-text", "a text holds a lone surrogate and cannot be written as UTF-8")
    try:
        meta = json.loads(texts.pop("meta"))
        json.dumps(meta, ensure_ascii=False, allow_nan=False).encode("utf-8")
    except (ValueError, RecursionError) as error:
        raise RowError("bad-meta", f"meta is no JSON ({error})") from error
    if not isinstance(meta, dict):
        raise RowError("bad-meta", f"meta is {type(meta).__name__}, must be an object")
    return schema.Instance(**texts, images=images, meta=meta)
