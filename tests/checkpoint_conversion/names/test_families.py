import re

import numpy as np
import pytest
import reference_goldens
from reference_goldens import WHOLE
from safetensors.numpy import load_file

from m3it_jax import errors
from m3it_jax.checkpoint_conversion.names import families, mapping
from m3it_jax.models.variants import VARIANTS

STORED = reference_goldens.STORED


def _cover(variant, keys, part=None):
    """Returns the rows of unused keys; raises if the names do not cover the model."""
    shapes = {entry.key: entry.shape for entry in families.entries(variant)}
    found = mapping.canonical_keys(keys, families.aliases(variant, part), where="here")
    return mapping.check_cover(
        families.entries(variant),
        {name: shapes.get(name, ()) for name in found},
        unused=families.unused(variant),
        where="here",
    )


@pytest.mark.parametrize("name", VARIANTS)
def test_every_parameter_of_every_variant_has_its_tensor(name):
    variant = VARIANTS[name]
    mapping.check_map(families.entries(variant), reference_goldens.parameter_shapes(variant))


@pytest.mark.parametrize("family", WHOLE)
def test_the_way_there_and_back_gives_identical_tensors(family):
    variant, theirs = reference_goldens.variant_of(family), reference_goldens.tensors_of(family)
    entries = families.entries(variant)
    left = mapping.check_cover(
        entries, {key: value.shape for key, value in theirs.items()}, unused=families.unused(variant), where=family
    )
    ours = mapping.to_ours(entries, theirs, reference_goldens.parameter_shapes(variant))
    back = mapping.to_hf(entries, ours)
    assert {*back} == {*theirs} - {*left}
    for key, value in back.items():
        assert value.dtype == theirs[key].dtype
        np.testing.assert_array_equal(value, theirs[key], err_msg=key)


def test_only_llava_leaves_something_over_and_it_says_what():
    variant = reference_goldens.variant_of("llava")
    left = _cover(variant, reference_goldens.tensors_of("llava"))
    blocks = [key for key in left if ".layers.2." in key]
    assert len(blocks) == 16 and len(left) == 18  # the last block of three, and the norm after it
    assert left["vision_tower.vision_model.post_layernorm.weight"].reason.startswith("the norm after a block")


# What the hub's LLaVA (transformers 4) is called elsewhere.
LLAVA_SPELLINGS = {
    "transformers 5, on disk": [(r"vision_tower\.vision_model\.", "vision_tower.")],
    "transformers 5, in memory": [
        (r"vision_tower\.vision_model\.", "model.vision_tower."),
        (r"multi_modal_projector\.", "model.multi_modal_projector."),
        (r"language_model\.lm_head\.", "lm_head."),
        (r"language_model\.model\.", "model.language_model."),
    ],
    "transformers 5.10 to 5.23": [
        (r"vision_tower\.vision_model\.", "model.vision_tower.vision_model."),
        (r"language_model\.lm_head\.", "lm_head."),
        (r"language_model\.model\.", "language_model.model.model."),
    ],
    "its authors": [
        (r"vision_tower\.vision_model\.", "model.vision_tower.vision_tower.vision_model."),
        (r"multi_modal_projector\.linear_1\.", "model.mm_projector.0."),
        (r"multi_modal_projector\.linear_2\.", "model.mm_projector.2."),
        (r"language_model\.lm_head\.", "lm_head."),
        (r"language_model\.model\.", "model."),
    ],
}


def _spelt(keys, rules):
    for key in keys:
        for pattern, replacement in rules:
            if re.match(pattern, key):
                yield re.sub(f"^{pattern}", replacement, key), key
                break
        else:
            yield key, key


@pytest.mark.parametrize("spelling", LLAVA_SPELLINGS)
def test_llava_is_read_in_every_spelling(spelling):
    keys = load_file(STORED / "llava" / "model.safetensors")
    other = dict(_spelt(keys, LLAVA_SPELLINGS[spelling]))
    assert {*other} != {*keys}
    aliases = families.aliases(reference_goldens.variant_of("llava"))
    assert mapping.canonical_keys(other, aliases, where="here") == {key: name for name, key in other.items()}


# LAVIS' names, from LAVIS' own modules (models/eva_vit.py, blip2_models/Qformer.py, blip2_models/blip2_t5.py).
LAVIS = [
    (r"vision_model\.embeddings\.class_embedding", "visual_encoder.cls_token"),
    (r"vision_model\.embeddings\.position_embedding", "visual_encoder.pos_embed"),
    (r"vision_model\.embeddings\.patch_embedding\.", "visual_encoder.patch_embed.proj."),
    (r"vision_model\.encoder\.layers\.(\d+)\.layer_norm([12])\.", r"visual_encoder.blocks.\1.norm\2."),
    (r"vision_model\.encoder\.layers\.(\d+)\.self_attn\.projection\.", r"visual_encoder.blocks.\1.attn.proj."),
    (r"vision_model\.encoder\.layers\.(\d+)\.self_attn\.", r"visual_encoder.blocks.\1.attn."),
    (r"vision_model\.encoder\.layers\.(\d+)\.mlp\.", r"visual_encoder.blocks.\1.mlp."),
    (r"vision_model\.post_layernorm\.", "ln_vision."),
    (r"qformer\.(?:embeddings\.)?layernorm\.", "Qformer.bert.embeddings.LayerNorm."),
    (r"qformer\.embeddings\.", "Qformer.bert.embeddings."),
    (r"qformer\.encoder\.layer\.(\d+)\.(c?r?o?s?s?attention)\.attention\.", r"Qformer.bert.encoder.layer.\1.\2.self."),
    (r"qformer\.encoder\.", "Qformer.bert.encoder."),
]


@pytest.mark.parametrize(
    ("family", "projection", "model"),
    [
        ("blip2_opt", "opt_proj", "opt_model"),
        ("blip2_t5", "t5_proj", "t5_model"),
        ("instructblip_llama", "llm_proj", "llm_model"),
    ],
)
def test_lavis_files_are_read(family, projection, model):
    keys = reference_goldens.tensors_of(family)
    rules = [*LAVIS, (r"language_projection\.", f"{projection}."), (r"language_model\.", f"{model}.")]
    other = dict(_spelt(keys, rules))
    assert "query_tokens" in other and not [key for key in other if key.startswith(("qformer", "vision_model", "lang"))]
    variant = reference_goldens.variant_of(family)
    assert mapping.canonical_keys(other, families.aliases(variant), where="here") == {
        key: name for name, key in other.items()
    }
    # The biases of q and v stand alone there; k has none.
    apart = mapping.canonical_keys(["visual_encoder.blocks.1.attn.q_bias"], families.aliases(variant), where="here")
    assert [*apart] == ["vision_model.encoder.layers.1.self_attn.q_bias"]


def test_what_the_first_stage_of_blip2_leaves_is_known():
    variant = reference_goldens.variant_of("blip2_opt")
    more = {
        "visual_encoder.blocks.3.mlp.fc1.weight": "EVA-CLIP's last block",
        "Qformer.cls.predictions.bias": "BERT's head",
        "Qformer.bert.embeddings.word_embeddings.weight": "the text branch",
        "Qformer.bert.embeddings.position_ids": "a table that is computed",
        "Qformer.bert.encoder.layer.1.intermediate.dense.weight": "the text branch",
        "Qformer.bert.encoder.layer.1.output.LayerNorm.bias": "the text branch",
        "vision_proj.weight": "a head of BLIP-2's first stage",
        "temp": "the temperature",
        "language_model.lm_head.weight": "tied",
    }
    left = _cover(variant, [*reference_goldens.tensors_of("blip2_opt"), *more])
    assert len(left) == len(more)
    for row, reason in zip(left.values(), more.values(), strict=True):
        assert row.reason.startswith(reason)
    assert left["language_model.lm_head.weight"].copy_of == "language_model.model.decoder.embed_tokens.weight"


@pytest.mark.parametrize("key", ["qformer.encoder.layer.0.output.extra.weight", "language_model.lm_head.bias", "x\n"])
def test_a_key_that_no_one_knows_is_refused(key):
    variant = reference_goldens.variant_of("instructblip_llama")
    with pytest.raises(errors.UserError, match="which the model does not know"):
        _cover(variant, [*reference_goldens.tensors_of("instructblip_llama"), key])


@pytest.mark.parametrize(
    ("plain", "family"), [("llama", "ying_vlm"), ("opt", "blip2_opt"), ("t5", "blip2_t5"), ("llama", "minigpt4")]
)
def test_a_language_model_alone_has_the_names_of_the_part(plain, family):
    variant = reference_goldens.variant_of(family)
    wanted = {entry.key for entry in families.entries(variant) if entry.paths[0].startswith("decoder/")}
    keys = load_file(STORED / plain / "model.safetensors")
    assert {*mapping.canonical_keys(keys, families.aliases(variant), where="here")} == wanted


def test_t5_and_opt_of_before_have_their_copies_and_names():
    t5 = families.unused(reference_goldens.variant_of("blip2_t5"))
    names = mapping.canonical_keys(
        ["encoder.embed_tokens.weight", "decoder.embed_tokens.weight"],
        families.aliases(reference_goldens.variant_of("blip2_t5")),
        where="here",
    )
    assert {mapping.unused_row(name, t5).copy_of for name in names} == {"language_model.shared.weight"}
    opt = families.aliases(reference_goldens.variant_of("blip2_opt"))
    bare = mapping.canonical_keys(["decoder.embed_tokens.weight"], opt, where="here")
    assert [*bare] == ["language_model.model.decoder.embed_tokens.weight"]


def test_llamas_original_names_are_read():
    variant = reference_goldens.variant_of("ying_vlm")
    wanted = {entry.key for entry in families.entries(variant) if entry.paths[0].startswith("decoder/")}
    keys = ["tok_embeddings.weight", "norm.weight", "output.weight", "rope.freqs"]
    for layer in range(variant.decoder.num_layers):
        keys += [f"layers.{layer}.attention.w{name}.weight" for name in "qkvo"]
        keys += [f"layers.{layer}.feed_forward.w{number}.weight" for number in (1, 2, 3)]
        keys += [f"layers.{layer}.{name}_norm.weight" for name in ("attention", "ffn")]
    found = mapping.canonical_keys(keys, families.aliases(variant, "decoder"), where="here")
    assert {*found} - wanted == {"rope.freqs"} and wanted <= {*found}
    assert found["language_model.model.layers.1.mlp.gate_proj.weight"] == "layers.1.feed_forward.w1.weight"
    assert found["language_model.model.layers.1.mlp.down_proj.weight"] == "layers.1.feed_forward.w2.weight"


def test_eva_vit_g_alone_is_read():
    variant = reference_goldens.variant_of("blip2_opt")
    wanted = {entry.key for entry in families.entries(variant) if entry.paths[0].startswith("vit/")}
    bare = [(pattern, name.removeprefix("visual_encoder.")) for pattern, name in LAVIS if "vision_model" in pattern]
    bare = [(pattern, "norm." if name == "ln_vision." else name) for pattern, name in bare]
    keys = dict(_spelt(wanted, bare))
    assert "blocks.0.attn.qkv.weight" in keys
    found = {*mapping.canonical_keys(keys, families.aliases(variant, "vit"), where="here")}
    # Its own norm is another than the one that BLIP-2 trained behind the tower: it stays unknown.
    own, trained = ({f"{name}.{end}" for end in ("weight", "bias")} for name in ("norm", families.EVA_NORM))
    assert trained <= wanted and found == wanted - trained | own


def test_blip2_and_instructblip_name_the_norm_differently_and_either_starts_the_other():
    for family, key in (
        ("blip2_t5", "qformer.embeddings.layernorm.bias"),
        ("instructblip_t5", "qformer.layernorm.bias"),
    ):
        variant = reference_goldens.variant_of(family)
        (name,) = mapping.canonical_keys([key], families.aliases(variant), where="here")
        assert name != key and name in {entry.key for entry in families.entries(variant)}
