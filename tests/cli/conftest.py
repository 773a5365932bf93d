"""A data folder with one real source, built once in this process."""

import pathlib
import shutil
from collections.abc import Callable

import pytest

from m3it_jax.cli import main
from m3it_jax.dataset_building import mini
from m3it_jax.dataset_building.steps import pipeline
from m3it_jax.dataset_building.writing import builder, edition


@pytest.fixture(scope="session")
def one_source(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    out = tmp_path_factory.mktemp("one") / "data"
    spec = next(spec for spec in mini.EDITIONS["base"] if spec.name == "digits-vqa")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mini, "EDITIONS", {"base": (spec,)})
        order = mini.order(out, "base", limit=4)
        stream = pipeline.Stream(spec, {}, order.seed, limit=order.limit)
        builder.build(stream, out, decided_by=order.decided_by())
        edition._train_tokenizer(order, {spec.name: edition._train_lines(out / spec.name / spec.version)})
        edition._write_manifest(order)
    return out


@pytest.fixture
def exit_code() -> Callable[[list[str]], int]:
    """Runs `m3it` with some words and returns its exit code, also where argparse leaves by itself."""

    def run(words: list[str]) -> int:
        try:
            return main.main(words)
        except SystemExit as left:
            return left.code

    return run


@pytest.fixture
def small_folder(one_source: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """A copy that a test may break."""
    return pathlib.Path(shutil.copytree(one_source, tmp_path / "data"))
