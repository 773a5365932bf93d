"""Every variant at full size, by shapes alone: the tree of parameters is public API and must not move by accident."""

import functools
import json
import pathlib

import jax
import numpy as np
import pytest

from m3it_jax import errors, parameter_paths, sharding
from m3it_jax.models import variants
from m3it_jax.models.variants import VARIANTS
from m3it_jax.training import objectives, setup

GOLDEN = pathlib.Path(__file__).parents[1] / "golden"

# Parameters of each part. The vision towers, Q-Formers, projections and decoders are those that transformers 5.24
# builds on its meta device from the sizes of the public config.json files named in variants.py; Ying-VLM's are also
# those of its released shards (28.37 GB in fp16). transformers 5 ties T5's head in memory, which google/flan-t5-*'s
# files do not: vocabulary times width is added. Of CLIP's 303.5 million LLaVA computes with 290.9: not with the last
# block and the norm behind it.
EVA_G, QFORMER, TEXT_QFORMER, CLIP_L_336 = 985_952_256, 105_162_240, 185_684_736, 290_909_184
FLAN_T5_XL, FLAN_T5_XXL = 2_783_959_040 + 32_128 * 2_048, 11_003_736_064 + 32_128 * 4_096
COUNTS = {
    "ying_vlm_13b": (EVA_G, QFORMER, 3_937_280, 13_091_886_080),
    "blip2_opt_2.7b": (EVA_G, QFORMER, 1_968_640, 2_651_678_720),
    "blip2_flan_t5_xl": (EVA_G, QFORMER, 1_574_912, FLAN_T5_XL),
    "blip2_flan_t5_xxl": (EVA_G, QFORMER, 3_149_824, FLAN_T5_XXL),
    "instructblip_vicuna_7b": (EVA_G, TEXT_QFORMER, 3_149_824, 6_738_423_808),
    "instructblip_vicuna_13b": (EVA_G, TEXT_QFORMER, 3_937_280, 13_015_874_560),
    "instructblip_flan_t5_xl": (EVA_G, TEXT_QFORMER, 1_574_912, FLAN_T5_XL),
    "instructblip_flan_t5_xxl": (EVA_G, TEXT_QFORMER, 3_149_824, FLAN_T5_XXL),
    "minigpt4_vicuna_7b": (EVA_G, QFORMER, 3_149_824, 6_738_423_808),
    "minigpt4_vicuna_13b": (EVA_G, QFORMER, 3_937_280, 13_015_874_560),
    "llava_1.5_7b": (CLIP_L_336, 0, 20_979_712, 6_738_939_904),
    "llava_1.5_13b": (CLIP_L_336, 0, 31_467_520, 13_016_519_680),
}
PARTS = ("vit", "qformer", "projection", "decoder")


@functools.cache
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


@pytest.mark.parametrize("name", sorted(VARIANTS.keys() - {"tiny", "mini"}))
def test_every_part_has_as_many_parameters_as_the_reference(name: str) -> None:
    leaves = parameters(name)
    counts = [
        sum(int(np.prod(leaf.shape)) for path, leaf in leaves.items() if path.startswith(f"{part}/")) for part in PARTS
    ]
    assert tuple(counts) == COUNTS[name]
    assert sum(COUNTS["ying_vlm_13b"]) == 14_186_937_856  # of the release


@pytest.mark.parametrize("name", sorted(VARIANTS))
def test_a_variant_comes_back_from_its_json_form(name: str) -> None:
    """Reading makes the checks, so this is also the test of every row's sizes."""
    values = json.loads(json.dumps(variants.to_dict(VARIANTS[name])))
    assert variants.from_dict(values) == VARIANTS[name]


BROKEN = [
    (("vit", "image_fit"), "squeeze", r"vit\.image_fit='squeeze': must be one of stretch, crop"),
    (("vit", "num_layers"), 0, r"vit\.num_layers=0: must be a whole number above 0"),
    (("vit", "num_heads"), 5, r"vit\.embed_dim=32: must be a multiple of vit\.num_heads=5"),
    (("vit", "pixel_mean"), [0.5, 0.5], r"vit\.pixel_mean=\(0\.5, 0\.5\): must be three numbers"),
    (("vit", "has_patch_bias"), 1, r"vit\.has_patch_bias=1: must be true or false"),
    (("qformer", "num_queries"), "4", r"qformer\.num_queries='4': must be a whole number above 0"),
    (("qformer", "novel"), 1, r"qformer\.novel: is no field of this version"),
    (("projection", "mlp_dim"), None, r"projection\.mlp_dim=None: must be a whole number of 0 or more"),
    (("decoder", "kind"), "mamba", r"decoder\.kind='mamba': must be one of decoder_only, encoder_decoder"),
    (("decoder", "head_dim"), 5, r"decoder\.head_dim=5: must be even"),
    (("prompt",), "chat", r"prompt='chat': must be one of ying_vlm, "),
]


@pytest.mark.parametrize(("path", "value", "message"), BROKEN, ids=[".".join(row[0]) for row in BROKEN])
def test_a_wrong_field_is_named(path, value, message) -> None:
    values = variants.to_dict(VARIANTS["tiny"])
    place = values
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    with pytest.raises(errors.ConfigError, match=message):
        variants.from_dict(values)


def test_a_missing_field_and_a_file_that_is_no_model_are_named(tmp_path) -> None:
    values = variants.to_dict(VARIANTS["tiny"])
    del values["decoder"]["mlp_dim"]
    with pytest.raises(errors.ConfigError, match=r"^decoder\.mlp_dim: is missing"):
        variants.from_dict(values)
    (tmp_path / variants.MODEL_FILE).write_text("[1]")
    with pytest.raises(errors.ConfigError, match=r"model\.json: the file: must be an object with decoder, "):
        variants.read(tmp_path)


def test_a_name_is_a_row_or_a_folder(tmp_path) -> None:
    variants.write(VARIANTS["mini"], tmp_path)
    assert variants.named(str(tmp_path)) == variants.named("mini") == VARIANTS["mini"]
    with pytest.raises(errors.ConfigError, match=r"model\.variant='minni': must be one of tiny, .* or a folder"):
        variants.named("minni")


def test_dropout_is_that_of_bert_where_weights_were_trained_so_and_none_in_small_models() -> None:
    """attention_probs_dropout_prob and hidden_dropout_prob of the published Q-Formers are 0.1."""
    rates = {name: variant.qformer.dropout_rate for name, variant in VARIANTS.items() if variant.qformer is not None}
    assert rates == {name: 0.0 if name == "mini" else 0.1 for name in rates}
