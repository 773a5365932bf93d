"""A data folder in memory and models without weights, for the tests of evaluation."""

import io
import pathlib
import types

import numpy as np
import predicted_lines
import pytest
from PIL import Image

from m3it_jax import records, schema
from m3it_jax.evaluation import output


def picture(shade: int, size: int = 8) -> bytes:
    """Returns a grey PNG, so that a fake model can read the shade."""
    file = io.BytesIO()
    Image.new("RGB", (size, size), (shade, shade, shade)).save(file, "PNG")
    return file.getvalue()


def shade(image: bytes) -> int:
    with Image.open(io.BytesIO(image)) as opened:
        return int(np.asarray(opened)[0, 0, 0])


class Table(list):
    """Records in memory with the calls of `records.RecordTable`."""

    def read(self, number: int) -> schema.Instance:
        return self[number]


class Folder:
    """A data folder in memory: two skills of two families, and one with two pictures a record."""

    path = pathlib.Path("data/fake")
    fingerprint = "fake"

    def __init__(self, tables: dict[tuple[str, str], Table]):
        self.tables = tables
        names = sorted({source for source, _ in tables})
        self.sources = {
            name: records.SourceInfo(
                version="1.0.0",
                task=next(iter(tables[name, "test"])).task,
                language="en",
                splits={split: len(table) for (source, split), table in tables.items() if source == name},
                fingerprint=name,
                instructions=("What is this?",),
            )
            for name in names
        }

    def table(self, source: str, split: str) -> Table:
        return self.tables[source, split]


def instance(source: str, number: int, *, task: str, skill: str, num_images: int = 1, **fields) -> schema.Instance:
    shades = [10 * (number % 5) + place for place in range(num_images)]
    values = {
        "id": f"{source}-{number}",
        "language": "en",
        "instruction": "What is this?",
        "inputs": "",
        "outputs": f"shade {shades[0]}",
        "images": tuple(picture(value) for value in shades),
        **fields,
    }
    return schema.Instance(source=source, task=task, meta={"skill": skill, "group": f"g{number % 5}"}, **values)


class Reader:
    """A model that answers with the shade of the first picture: right with its own, wrong without."""

    def __init__(self, fail_after: int | None = None):
        self.asked: list[dict] = []
        self.fail_after = fail_after

    def generate_batch(self, requests: list[dict]) -> list[str]:
        if self.fail_after is not None and len(self.asked) >= self.fail_after:
            raise KeyboardInterrupt
        self.asked += requests
        return [f"shade\n {shade(request['images'][0])}\n" for request in requests]


@pytest.fixture
def fakes() -> types.SimpleNamespace:
    """Makers of pictures, models and predictions."""
    return types.SimpleNamespace(picture=picture, shade=shade, Reader=Reader, prediction=predicted_lines.prediction)


@pytest.fixture
def folder() -> Folder:
    return Folder(
        {
            ("one", "train"): Table(
                instance("one", number, task="vqa", skill="digit", outputs="often" if number else "rare")
                for number in range(6)
            ),
            ("one", "test"): Table(instance("one", number, task="vqa", skill="digit") for number in range(20)),
            ("two", "train"): Table(
                instance("two", number, task="reasoning", skill="two-sum", num_images=2) for number in range(4)
            ),
            ("two", "test"): Table(
                instance("two", number, task="reasoning", skill="two-sum", num_images=2) for number in range(10)
            ),
        }
    )


@pytest.fixture
def store(tmp_path: pathlib.Path) -> output.EvalFolder:
    return output.EvalFolder(tmp_path / "eval")
