"""A data folder of given records, written by the builder in this process: no workers, a second for each source."""

import functools
import io
import pathlib
from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest
from PIL import Image

from m3it_jax import schema
from m3it_jax.dataset_building.specification import SourceSpec
from m3it_jax.dataset_building.steps import pipeline
from m3it_jax.dataset_building.writing import builder, edition
from m3it_jax.dataset_building.writing.order import Order

POOL = ("Answer the question.", "Say what is asked.")


def picture(seed: int) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (12, 16, 3), np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()


def row(source: str, question: str, answer: str, **fields) -> schema.Instance:
    """A record of a source; its picture and id follow from its texts. `meta` is added to the usual one."""
    record_id = schema.content_id(source, question, answer)
    usual = {"group": record_id, "skill": source, "references": [answer], "licence": "CC BY 4.0", "version": "1.0.0"}
    given = {
        "id": record_id,
        "source": source,
        "task": "vqa",
        "language": "en",
        "instruction": POOL[0],
        "inputs": question,
        "outputs": answer,
        "images": (picture(len(question)),),
    }
    return schema.Instance(**given | fields | {"meta": usual | fields.get("meta", {})})


def _rows(rows: Mapping[str, Sequence[schema.Instance]], assets, split: str, seed: int):
    yield from rows.get(split, ())


def build(
    out: pathlib.Path, sources: Mapping[str, Mapping[str, Sequence[schema.Instance]]], **about: str
) -> pathlib.Path:
    """Writes source -> split -> records; `about` are fields of every `SourceSpec`."""
    usual = {
        "licence": "CC BY 4.0",
        "citation": "Somebody, 2020",
        "url": "https://example.org",
        "known_problems": "few",
    }
    specs = []
    for name, rows in sources.items():
        first = next(record for records in rows.values() for record in records)
        drafts = functools.partial(_rows, rows)
        facts = usual | about
        specs.append(SourceSpec(name, first.task, first.language, "", drafts, {}, instructions=POOL, **facts))
    order = Order(out, "toys", "small", tuple(specs), introduction="Toys.\n\n## How it was made\n\nBy a test.\n")
    for spec in specs:
        builder.build(pipeline.Stream(spec, {}, 0), out, decided_by=order.decided_by())
    edition._write_manifest(order)
    return out


@pytest.fixture(scope="session")
def build_folder() -> Callable[..., pathlib.Path]:
    """build_folder(out, {source: {split: [record, ...]}}, **fields of SourceSpec)."""
    return build
