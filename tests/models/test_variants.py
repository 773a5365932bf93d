"""Every variant at full size, by shapes alone: the tree of parameters is public API and must not move by accident."""

import json
import pathlib

import jax
import numpy as np
import pytest

from m3it_jax import parameter_paths, sharding
from m3it_jax.models import variants
from m3it_jax.models.variants import VARIANTS
from m3it_jax.training import objectives, setup

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"

# reference counts of Ying-VLM: BLIP2-OPT-2.7B's towers, a 768 -> 5120 projection, LLaMA-13B with Ziya's vocabulary.
YING_COUNTS = {"vit": 985_952_256, "qformer": 105_137_664 + 24_576, "projection": 3_937_280, "decoder": 13_091_886_080}


def parameters(name: str) -> dict[str, jax.ShapeDtypeStruct]:
    task = objectives.Task(VARIANTS[name], "float32", False, (), 1, 8)
    return parameter_paths.flatten(setup.abstract_params(objectives.OBJECTIVES["response"], task)[0])


def describe(leaves: dict[str, jax.ShapeDtypeStruct]) -> str:
    rows = [
        f"{path} {leaf.shape} {leaf.dtype} {sharding.parameter_axes(path)}" for path, leaf in sorted(leaves.items())
    ]
    return "\n".join(rows) + "\n"


@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_parameter_tree_equals_golden(name: str) -> None:
    golden = GOLDEN / f"{name}.params.txt"
    assert describe(parameters(name)) == golden.read_text("utf-8"), (
        f"the parameters of {name} moved; if that is wanted, write the new tree to {golden} and a line to CHANGELOG.md"
    )


def test_ying_vlm_has_the_published_counts() -> None:
    leaves = parameters("ying_vlm_13b")
    counts = {
        part: sum(int(np.prod(leaf.shape)) for path, leaf in leaves.items() if path.startswith(f"{part}/"))
        for part in YING_COUNTS
    }
    assert counts == YING_COUNTS
    assert sum(counts.values()) == 14_186_937_856


@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_a_variant_comes_back_from_its_json_form(name: str) -> None:
    """Reading makes the checks, so this is also the test of every row's sizes."""
    values = json.loads(json.dumps(variants.to_dict(VARIANTS[name])))
    assert variants.from_dict(values) == VARIANTS[name]
