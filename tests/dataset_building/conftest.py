"""A small data folder of the real base edition, built once for all tests of this folder."""

import pathlib
import shutil

import pytest

from m3it_jax.dataset_building import mini
from m3it_jax.dataset_building.writing import edition

LIMIT = 4


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The base edition with four records of each split; must not be changed."""
    out = tmp_path_factory.mktemp("mini") / "data"
    edition.build(mini.order(out, "base", limit=LIMIT), jobs=1)
    return out


@pytest.fixture
def folder(built: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """A copy that a test may break."""
    return pathlib.Path(shutil.copytree(built, tmp_path / "data"))
