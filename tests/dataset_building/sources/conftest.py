"""Every test of a source reads the fixture in its publisher's raw form under tests/fixtures/raw/<source>/."""

import pathlib
from collections.abc import Callable

import pytest

from m3it_jax import schema
from m3it_jax.dataset_building import sources
from m3it_jax.dataset_building.specification import Draft, Rejected
from m3it_jax.dataset_building.steps import pipeline

RAW = pathlib.Path(__file__).parents[2] / "fixtures" / "raw"


def _folders(raw: pathlib.Path) -> dict[str, pathlib.Path]:
    return {name: raw / name for name in sources.NAMES if (raw / name).is_dir()}


@pytest.fixture
def raw() -> pathlib.Path:
    """The folder with every source's fixture; a test that changes one copies it first."""
    return RAW


@pytest.fixture
def drafts() -> Callable[..., list[Draft | Rejected]]:
    """drafts(name, split, raw=RAW, seed=0): what the converter says."""

    def make(name: str, split: str, raw: pathlib.Path = RAW, seed: int = 0) -> list[Draft | Rejected]:
        return list(sources.load(name).drafts(_folders(raw), split, seed))

    return make


@pytest.fixture
def instances() -> Callable[..., list[schema.Instance]]:
    """instances(name, split, raw=RAW, seed=0): the finished records."""

    def make(name: str, split: str, raw: pathlib.Path = RAW, seed: int = 0) -> list[schema.Instance]:
        stream = pipeline.Stream(sources.load(name), _folders(raw), seed)
        return list(stream.instances(split))

    return make
