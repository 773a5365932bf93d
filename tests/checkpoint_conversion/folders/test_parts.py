import json
import pathlib

import pytest

from m3it_jax import errors
from m3it_jax.checkpoint_conversion.folders import parts
from m3it_jax.models import variants

EXAMPLES = sorted((pathlib.Path(__file__).parents[3] / "configs" / "weights").glob("*.json"))
DELTA = {"delta": "ziya", "base": "llama", "embeddings": "replaced"}
GOOD = {"variant": "ying_vlm_13b", "vit": "blip", "qformer": "blip", "projection": "fresh", "decoder": DELTA}


def read(tmp_path, values):
    path = tmp_path / "parts.json"
    path.write_text(json.dumps(values))
    return parts.read(path)


def test_paths_are_relative_to_the_file(tmp_path):
    chosen = read(tmp_path, {**GOOD, "seed": 3})
    assert chosen.origins["vit"] == parts.Origin(tmp_path / "blip")
    assert chosen.origins["projection"] == parts.Origin(None)
    assert chosen.origins["decoder"] == parts.Origin(tmp_path / "ziya", tmp_path / "llama", "replaced")
    assert (chosen.variant, chosen.tokenizer, chosen.seed) == ("ying_vlm_13b", tmp_path / "ziya", 3)
    assert read(tmp_path, {**GOOD, "tokenizer": "words"}).tokenizer == tmp_path / "words"


def test_a_folder_may_be_the_variant(tmp_path):
    (tmp_path / "mine").mkdir()
    assert read(tmp_path, {**GOOD, "variant": "mine"}).variant == str(tmp_path / "mine")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"bridge": "x"}, "'bridge' is no field; known are decoder, projection"),
        ({"variant": 3}, "variant=3 must be the name"),
        ({"seed": -1}, "seed=-1 must be a whole number"),
        ({"seed": True}, "seed=True must be a whole number"),
        ({"vit": 3}, "vit=3 must be a folder"),
        ({"vit": ""}, "vit='' must be a folder"),
        ({"decoder": {"delta": "a", "base": "b"}}, "decoder=.* must be a folder, .* with base, delta, embeddings"),
        ({"decoder": {**DELTA, "base": 1}}, "decoder.base=1 must be a folder"),
        ({"decoder": {**DELTA, "embeddings": "no"}}, "decoder.embeddings='no' must be one of replaced, added"),
        ({"decoder": "fresh"}, "tokenizer=None must be a folder"),
    ],
)
def test_wrong_fields_are_named(tmp_path, change, words):
    with pytest.raises(errors.ConfigError, match=words):
        read(tmp_path, {**GOOD, **change})


def test_a_file_without_parts_is_refused(tmp_path):
    with pytest.raises(errors.ConfigError, match="names no part"):
        read(tmp_path, {"variant": "tiny", "tokenizer": "words"})


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_the_examples_are_sound(path):
    chosen = parts.read(path)
    variant = variants.named(chosen.variant)
    needed = {name for name in parts.PARTS if getattr(variant, name) is not None}
    assert set(chosen.origins) == needed and chosen.variant == path.stem


def test_there_are_examples():
    assert len(EXAMPLES) >= 4
