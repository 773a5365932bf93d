"""Small files in the forms that others ship, and what the import makes of them."""

import base64
import io
import json
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from PIL import Image

from m3it_jax import schema
from m3it_jax.dataset_building import interchange
from m3it_jax.dataset_building.specification import Rejected
from m3it_jax.dataset_building.steps import pipeline

Imported = tuple[dict[str, list[schema.Instance]], list[Rejected]]


@pytest.fixture(scope="session")
def jpeg() -> Callable[[int], bytes]:
    """jpeg(number): a small picture, another one for each number."""

    def make(number: int) -> bytes:
        buffer = io.BytesIO()
        pixels = np.random.default_rng(number).integers(0, 255, (12, 16, 3), np.uint8)
        Image.fromarray(pixels).save(buffer, "JPEG", quality=80)
        return buffer.getvalue()

    return make


@pytest.fixture
def text_of(jpeg: Callable[[int], bytes]) -> Callable[[int], str]:
    """text_of(number): the picture as base64."""
    return lambda number: base64.b64encode(jpeg(number)).decode()


@pytest.fixture
def lines() -> Callable[..., pathlib.Path]:
    """lines(path, *rows): writes a JSONL file and its folders."""

    def write(path: pathlib.Path, *rows: Any) -> pathlib.Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    return write


@pytest.fixture
def imported(tmp_path: pathlib.Path) -> Callable[..., Imported]:
    """imported(form, *paths, **request): records of the only source by split, and what was left out."""

    def run(form: str, *paths: pathlib.Path, seed: int = 0, **given: Any) -> Imported:
        order = interchange.order(form, interchange.Request(paths, **given), tmp_path / "out", seed=seed)
        (spec,) = order.specs
        rejected: list[Rejected] = []
        stream = pipeline.Stream(spec, {}, seed, on_rejected=lambda split, row: rejected.append(row))
        found = {split: list(stream.instances(split)) for split in schema.SPLITS}
        return {split: records for split, records in found.items() if records}, rejected

    return run
