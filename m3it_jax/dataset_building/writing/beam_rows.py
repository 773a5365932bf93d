"""The conversion of one split as an Apache Beam transform: what `pipeline.Stream` does, spread over workers.

    rows (one worker reads the publisher's lists) -> reshuffle -> pictures, boxes, id, checks -> by id -> records
                                                                                               '-> rows left out

Every step is a pure function of the row and the order, so the records are the same whatever the number of workers.
"""

import base64
import json
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam

from m3it_jax import records, schema
from m3it_jax.dataset_building.specification import Draft, Rejected
from m3it_jax.dataset_building.steps.pipeline import Stream

Row = Draft | schema.Instance | Rejected


class Records(beam.PTransform):
    """Split -> (id, features) of each sound record, as the TFDS builder takes them; the rest goes into a file."""

    def __init__(self, stream: Stream, split: str, rejected: pathlib.Path):
        """Takes the stream (without callbacks), the split, and the begin of the names of the files for rows left out.

        A line of those files is what `rejection_line` returns.
        """
        super().__init__()
        self._stream, self._split, self._rejected = stream, split, rejected

    def expand(self, begin: Any) -> Any:
        """Adds the steps to the pipeline `begin` and returns the records."""
        stream, split = self._stream, self._split
        rows = (
            begin
            | "Split" >> beam.Create([split])
            | "Rows" >> beam.FlatMap(lambda each: enumerate(stream.rows(each)))
            | "Spread" >> beam.Reshuffle()
            | "Finish" >> beam.Map(_finished, stream)
            | "ById" >> beam.GroupByKey()
            | "First" >> beam.FlatMap(_first_of).with_outputs("rejected", main="records")
        )
        _ = (
            rows.rejected
            | "Lines" >> beam.Map(lambda found: rejection_line(split, *found))
            | "Write" >> beam.io.WriteToText(str(self._rejected), num_shards=1)
        )
        return rows.records


def _finished(numbered: tuple[int, Row], stream: Stream) -> tuple[str, tuple[int, schema.Instance | Rejected]]:
    number, row = numbered
    result = stream.finished(row)
    # What was left out has no id of its own; its number keeps it apart.
    return (result.id if isinstance(result, schema.Instance) else f"\0{number}"), (number, result)


def _first_of(group: tuple[str, Iterable[tuple[int, schema.Instance | Rejected]]]) -> Iterator[Any]:
    """Yields the first record of an id by its number; as rejected the others, and what was left out before."""
    for place, (number, result) in enumerate(sorted(group[1], key=lambda entry: entry[0])):
        if isinstance(result, schema.Instance) and place:
            result = Rejected.duplicate(result)
        if isinstance(result, Rejected):
            yield beam.pvalue.TaggedOutput("rejected", (number, result))
        else:
            yield result.id, records.to_features(result)


def rejection_line(split: str, number: int, row: Rejected) -> str:
    """Returns a row that was left out as one line of ASCII, with its record in base64 if it became one."""
    line: dict[str, Any] = {"number": number, "split": split}
    line |= {"place": row.place, "reason": row.reason, "text": row.text}
    if row.instance is not None:
        line["record"] = base64.b64encode(records.encode(row.instance)).decode()
    return json.dumps(line)


def rejections(folder: pathlib.Path, name: str) -> Iterator[tuple[str, Rejected]]:
    """Yields (split, row) of what `Records` wrote under the files' begin `folder/name`, in the source's order."""
    found = [json.loads(line) for file in sorted(folder.glob(f"{name}*")) for line in file.read_text().splitlines()]
    for line in sorted(found, key=lambda line: line["number"]):
        instance = records.decode(base64.b64decode(line["record"])) if "record" in line else None
        yield line["split"], Rejected(line["place"], line["reason"], line["text"], instance)
