"""What is done to a shard once its records stand in it: its index, and one order of fields."""

import os
import pathlib
from collections.abc import Callable

from m3it_jax import schema
from m3it_jax.records import framing
from m3it_jax.records.examples import decode, encode
from m3it_jax.records.shard_index import Rows, ShardIndex, load_index


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
