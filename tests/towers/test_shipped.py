"""The shipped towers: the card tells what lies there, they fit the model, and they saw training pictures alone."""

import hashlib
import importlib.util
import json
import pathlib

import pytest

from m3it_jax import checkpointing, parameter_paths, tokenizer
from m3it_jax.config import Experiment
from m3it_jax.models.variants import VARIANTS
from m3it_jax.training import objectives, setup

FOLDER = checkpointing.TOWERS / "mini"
CONFIGS = pathlib.Path(__file__).parents[2] / "configs" / "mini"
PARTS = ("vit", "qformer", "decoder")


@pytest.fixture(scope="module")
def card() -> dict:
    return json.loads((FOLDER / "card.json").read_text("utf-8"))


@pytest.mark.parametrize("part", PARTS)
def test_the_file_is_the_one_of_the_card(card, part: str) -> None:
    facts = card["parts"][part]
    assert hashlib.sha256((FOLDER / facts["file"]).read_bytes()).hexdigest() == facts["sha256"]


def test_all_weights_together_are_small() -> None:
    assert sum(path.stat().st_size for path in FOLDER.glob("*.safetensors")) <= 13_000_000


@pytest.mark.parametrize("part", PARTS)
def test_the_parts_fit_the_variant(card, part: str) -> None:
    task = objectives.Task(VARIANTS[card["variant"]], "float32", False, (), 1, 8)
    shapes = parameter_paths.flatten(setup.abstract_params(objectives.OBJECTIVES["response"], task)[0])
    wanted = {path: leaf.shape for path, leaf in shapes.items() if path.startswith(f"{part}/")}
    leaves = checkpointing.load_part(f"package:{card['variant']}", part)
    assert {path: leaf.shape for path, leaf in leaves.items()} == wanted


def test_the_tokenizer_is_the_decoders(card) -> None:
    words = tokenizer.Tokenizer.load(checkpointing.tokenizer_path("package:mini"))
    assert words.fingerprint == card["tokenizer_sha256"]
    assert words.vocab_size <= VARIANTS[card["variant"]].decoder.vocab_size


@pytest.mark.parametrize("part", PARTS)
def test_only_the_training_split_was_read(card, part: str) -> None:
    """The card and the recipes agree; that splits share no picture is tested with the edition."""
    for run in card["parts"][part]["runs"]:
        config = recipe(run["config"])
        assert config.data.split == run["split"] == "train"
        assert sorted(config.data.mixture) == run["sources"]
        assert (config.num_steps, config.seed) == (run["steps"], run["seed"])


def test_every_recipe_was_run(card) -> None:
    run = {pathlib.Path(run["config"]).name for facts in card["parts"].values() for run in facts["runs"]}
    assert run == {path.name for path in CONFIGS.glob("*.py")}


def test_pre_training_takes_an_hour_or_less(card) -> None:
    assert (
        sum(run["seconds"] for facts in card["parts"].values() for run in facts["runs"]) <= 1.25 * 3600
    )  # an hour, with room for cores that did other work


def recipe(path: str) -> Experiment:
    spec = importlib.util.spec_from_file_location("recipe", CONFIGS / pathlib.Path(path).name)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.get_config()
