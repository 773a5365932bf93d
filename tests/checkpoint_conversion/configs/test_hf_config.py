import copy
import re

import pytest
import reference_goldens

from m3it_jax import errors
from m3it_jax.checkpoint_conversion.configs import hf_config
from m3it_jax.models.variants import VARIANTS

VICUNA = {
    "model_type": "llama",
    "vocab_size": 32_001,
    "pad_token_id": 32_000,
    "rms_norm_eps": 1e-6,
    "rope_scaling": None,
}
LLAMA_13B = {"hidden_size": 5_120, "intermediate_size": 13_824, "num_attention_heads": 40, "num_hidden_layers": 40}
FLAN_T5_XL = {
    "model_type": "t5",
    "d_model": 2_048,
    "d_ff": 5_120,
    "d_kv": 64,
    "num_heads": 32,
    "num_layers": 24,
    "dense_act_fn": "gelu",  # as BLIP-2's authors read it; Flan-T5 alone has gelu_new
    "feed_forward_proj": "gated-gelu",
    "tie_word_embeddings": False,
    "n_positions": 512,
}
OPT = {
    "model_type": "opt",
    "ffn_dim": 10_240,
    "hidden_size": 2_560,
    "num_attention_heads": 32,
    "num_hidden_layers": 32,
    "prefix": "</s>",
    "vocab_size": 50_304,
    "word_embed_proj_dim": 2_560,
    "eos_token_id": 50_118,
}
CLIP = {
    "model_type": "clip_vision_model",
    "hidden_size": 1_024,
    "image_size": 336,
    "intermediate_size": 4_096,
    "num_attention_heads": 16,
    "num_hidden_layers": 24,
    "patch_size": 14,
    "projection_dim": 768,
    "vocab_size": 32_000,
}
LLAVA = {"vision_feature_layer": -2, "vision_feature_select_strategy": "default", "image_token_index": 32_000}
LLAVA_TEXT = {"model_type": "llama", "max_position_embeddings": 4_096, "rms_norm_eps": 1e-5, "vocab_size": 32_064}
EMPTY = {"model_type": "blip_2_qformer", "classifier_dropout": None}

# The hub's files name what differs from the default of a class, so most of a model is in what is absent.
HUB = {
    "blip2_opt_2.7b": {"model_type": "blip-2", "text_config": OPT, "qformer_config": EMPTY, "vision_config": {}},
    "blip2_flan_t5_xl": {
        "model_type": "blip-2",
        "text_config": FLAN_T5_XL,
        "qformer_config": EMPTY,
        "num_query_tokens": 32,
    },
    "instructblip_vicuna_7b": {
        "model_type": "instructblip",
        "text_config": VICUNA,
        "qformer_config": {"vocab_size": 30_523},
    },
    "instructblip_vicuna_13b": {
        "model_type": "instructblip",
        "text_config": VICUNA | LLAMA_13B,
        "qformer_config": {"vocab_size": 30_523},
    },
    "instructblip_flan_t5_xl": {
        "model_type": "instructblip",
        "text_config": FLAN_T5_XL,
        "qformer_config": {"vocab_size": 30_523},
    },
    "llava_1.5_7b": {"model_type": "llava", "text_config": LLAVA_TEXT, "vision_config": CLIP, **LLAVA},
    "llava_1.5_13b": {"model_type": "llava", "text_config": LLAVA_TEXT | LLAMA_13B, "vision_config": CLIP, **LLAVA},
    "ying_vlm_13b": {
        "architectures": ["VLMForConditionalGeneration"],
        "model_type": "blip-2",
        "text_config": {"model_type": "llama", "vocab_size": 39_424} | LLAMA_13B,
    },
}


@pytest.mark.parametrize("name", HUB)
def test_the_hubs_configurations_give_the_rows_of_the_table(name):
    assert hf_config.recognise(HUB[name], where="here")[1] == VARIANTS[name]


def _stored(family):
    return copy.deepcopy(reference_goldens.read_json(reference_goldens.STORED / family / "config.json"))


REFUSED = [
    ("blip2_opt", "model_type", "blip"),
    ("blip2_opt", "text_config.model_type", "gpt_neox"),
    ("llava", "text_config.model_type", "mistral"),
    ("blip2_opt", "quantization_config", {"bits": 4}),
    ("blip2_opt", "text_config.quantization_config", {"bits": 4}),
    ("blip2_opt", "vision_config.qkv_bias", False),
    ("blip2_opt", "vision_config.hidden_act", "gelu_fast"),
    ("blip2_opt", "vision_config.image_size", [28, 42]),
    ("blip2_opt", "vision_config.num_hidden_layers", 0),
    ("blip2_opt", "qformer_config.use_qformer_text_input", True),
    ("blip2_opt", "qformer_config.position_embedding_type", "relative_key"),
    ("blip2_opt", "qformer_config.cross_attention_frequency", 3),
    ("blip2_opt", "vision_config.patch_size", 29),
    ("blip2_opt", "vision_config.num_attention_heads", 5),
    ("blip2_opt", "vision_config.num_hidden_layers", 10**9),
    ("blip2_opt", "text_config.num_attention_heads", 5),
    ("blip2_opt", "qformer_config.attention_probs_dropout_prob", 0.2),
    ("blip2_opt", "qformer_config", 3),
    ("blip2_opt", "num_query_tokens", True),
    ("blip2_opt", "text_config.do_layer_norm_before", False),
    ("blip2_opt", "text_config._remove_final_layer_norm", True),
    ("blip2_opt", "text_config.enable_bias", False),
    ("blip2_opt", "text_config.layer_norm_elementwise_affine", False),
    ("blip2_opt", "text_config.tie_word_embeddings", False),
    ("blip2_opt", "text_config.word_embed_proj_dim", 14),
    ("blip2_opt", "text_config.activation_function", "gelu_fast"),
    ("ying_vlm", "text_config.rope_scaling", {"type": "linear", "factor": 2.0}),
    ("ying_vlm", "text_config.rope_scaling", {"rope_type": "dynamic", "factor": 2.0}),
    ("ying_vlm", "text_config.num_key_value_heads", 3),
    ("ying_vlm", "text_config.head_dim", 7),
    ("ying_vlm", "text_config.rms_norm_eps", float("inf")),
    ("ying_vlm", "text_config.rms_norm_eps", 10**400),
    ("ying_vlm", "model_type", ["blip-2"]),
    ("ying_vlm", "text_config.model_type", {"a": "b"}),
    ("ying_vlm", "text_config.rope_parameters", {"rope_type": "yarn", "rope_theta": 1e4}),
    ("ying_vlm", "text_config.rope_parameters", {"partial_rotary_factor": 0.5}),
    ("ying_vlm", "text_config.attention_bias", True),
    ("ying_vlm", "text_config.mlp_bias", True),
    ("ying_vlm", "text_config.hidden_act", "gelu_fast"),
    ("ying_vlm", "text_config.rms_norm_eps", 0),
    ("ying_vlm", "text_config.rope_theta", "1e4"),
    ("blip2_t5", "text_config.feed_forward_proj", "relu"),
    ("blip2_t5", "text_config.tie_word_embeddings", "no"),
    ("blip2_t5", "text_config.relative_attention_num_buckets", 3),
    ("blip2_t5", "text_config.relative_attention_max_distance", 5),
    ("blip2_t5", "text_config.hidden_size", 29),
    ("blip2_t5", "text_config.is_gated_act", False),
    ("blip2_t5", "text_config.is_gated_act", None),
    ("blip2_t5", "text_config.dense_act_fn", "mish"),
    ("blip2_t5", "text_config.dense_act_fn", None),
    ("blip2_t5", "text_config.tie_encoder_decoder", True),
    ("blip2_t5", "text_config.tie_word_embeddings", None),
    ("blip2_opt", "text_config.do_layer_norm_before", None),
    ("blip2_opt", "text_config.enable_bias", None),
    ("blip2_opt", "text_config.pruned_heads", {"0": [1]}),
    ("blip2_opt", "vision_config.qkv_bias", None),
    ("blip2_opt", "vision_config.per_layer_config", {"0": {"intermediate_size": 50}}),
    ("llava", "multimodal_projector_bias", None),
    ("llava", "vision_feature_layer", [-2, -5]),
    ("llava", "vision_feature_layer", -4),
    ("llava", "vision_feature_layer", 4),
    ("llava", "vision_feature_select_strategy", "cls_patch"),
    ("llava", "tie_word_embeddings", "yes"),
    ("llava", "multimodal_projector_bias", False),
    ("llava", "projector_hidden_act", "mish"),
    ("llava", "vision_config.model_type", "siglip_vision_model"),
    ("llava", "vision_config.num_channels", 1),
]


@pytest.mark.parametrize(("family", "path", "value"), REFUSED, ids=[f"{path}={value}" for _, path, value in REFUSED])
def test_what_is_not_computed_is_refused_by_its_name(family, path, value):
    config = _stored(family)
    hf_config.recognise(config, where="config.json")
    *parents, name = path.split(".")
    here = config
    for parent in parents:
        here = here[parent]
    here[name] = value
    with pytest.raises(errors.UserError, match=r"^config\.json") as caught:
        hf_config.recognise(config, where="config.json")
    # By the field itself, or by the one inside it that is to blame.
    named = [name, *(value if isinstance(value, dict) else ())]
    told = str(caught.value)
    assert re.search(rf"\b({'|'.join(named)})\b", told) and "\n" not in told, told


PICTURES = [
    ("blip2_opt", "size", {"height": 28, "width": 30}),
    ("blip2_opt", "size", {"shortest_edge": 28}),
    ("blip2_opt", "do_center_crop", True),
    ("blip2_opt", "do_normalize", False),
    ("blip2_opt", "resample", 2),
    ("blip2_opt", "rescale_factor", 1.0),
    ("blip2_opt", "image_mean", [0.5, 0.5]),
    ("blip2_opt", "do_normalize", None),
    ("blip2_opt", "do_resize", None),
    ("blip2_opt", "do_rescale", None),
    ("blip2_opt", "do_convert_rgb", None),
    ("blip2_opt", "resample", None),
    ("blip2_opt", "image_mean", None),
    ("llava", "do_center_crop", None),
    ("llava", "crop_size", None),
    ("llava", "crop_size", {"height": 27, "width": 28}),
    ("llava", "do_center_crop", False),
    ("llava", "do_pad", True),
    ("llava", "size", {"height": 28, "width": 28}),
]


@pytest.mark.parametrize(("family", "name", "value"), PICTURES, ids=[f"{name}={value}" for _, name, value in PICTURES])
def test_pictures_that_are_prepared_otherwise_are_refused(family, name, value):
    preprocessor = reference_goldens.read_json(reference_goldens.STORED / family / "preprocessor_config.json")
    hf_config.recognise(_stored(family), where="here", preprocessor=preprocessor)
    with pytest.raises(errors.UserError, match=name):
        hf_config.recognise(_stored(family), where="here", preprocessor=preprocessor | {name: value})


def test_mean_and_deviation_come_from_the_processor():
    config, edge = _stored("blip2_opt"), {"height": 28, "width": 28}
    preprocessor = {"image_mean": [0.5, 0.4, 0.3], "image_std": [0.2, 0.1, 0.6], "size": edge}
    vit = hf_config.recognise(config, where="here", preprocessor=preprocessor)[1].vit
    assert vit.pixel_mean == (0.5, 0.4, 0.3) and vit.pixel_std == (0.2, 0.1, 0.6)


def test_a_null_that_fast_processors_write_changes_nothing():
    # transformers 4.57 saves them so for a processor that neither crops nor pads.
    for name in ("do_center_crop", "crop_size", "do_pad", "pad_size", "device", "input_data_format"):
        preprocessor = reference_goldens.read_json(reference_goldens.STORED / "blip2_opt" / "preprocessor_config.json")
        wanted = hf_config.recognise(_stored("blip2_opt"), where="here", preprocessor=preprocessor)
        preprocessor[name] = None
        assert hf_config.recognise(_stored("blip2_opt"), where="here", preprocessor=preprocessor) == wanted


def test_a_value_that_transformers_never_reads_says_nothing():
    llava, blip = _stored("llava"), _stored("blip2_opt")
    for values, part, name, value in (
        (llava, None, "image_seq_length", 17),
        (blip, "qformer_config", "encoder_hidden_size", 1_408),
        (blip, "text_config", "tie_word_embeddings", None),
        (llava, "text_config", "rope_scaling", {"type": "default"}),
        (llava, "text_config", "rope_scaling", {}),
    ):
        wanted = hf_config.recognise(values, where="here")
        changed = copy.deepcopy(values)
        (changed[part] if part else changed)[name] = value
        assert hf_config.recognise(changed, where="here") == wanted, name


def test_what_a_tower_leaves_out_is_clips_default_and_no_tower_at_all_is_llavas():
    config = _stored("llava")
    config["vision_config"] = {"image_size": 64}
    partial = hf_config.recognise(config, where="here")[1].vit
    assert (partial.embed_dim, partial.patch_size, partial.num_heads, partial.num_layers) == (768, 32, 12, 11)
    del config["vision_config"]
    assert hf_config.recognise(config, where="here")[1].vit == VARIANTS["llava_1.5_7b"].vit
    del config["text_config"]["model_type"]  # a LLaMA here, an OPT in the other families
    assert hf_config.recognise(config, where="here")[1].decoder.positions == "rotary"


def test_either_field_ties_the_head_of_a_llava():
    for whole, text, tied in ((True, False, True), (False, True, True), (False, False, False), (None, None, False)):
        config = _stored("llava")
        config["tie_word_embeddings"], config["text_config"]["tie_word_embeddings"] = whole, text
        assert hf_config.recognise(config, where="here")[1].decoder.has_tied_head is tied
    config = _stored("ying_vlm") | {"tie_word_embeddings": True}  # a BLIP-2 asks its language model alone
    assert not hf_config.recognise(config, where="here")[1].decoder.has_tied_head


def test_an_older_name_of_rotary_settings_replaces_the_newer_one():
    config = _stored("ying_vlm")
    config["text_config"] |= {"rope_theta": 3.0, "rope_parameters": {"rope_theta": 5.0}}
    assert hf_config.recognise(config, where="here")[1].decoder.rope_base == 5.0
    config["text_config"]["rope_scaling"] = {"type": "default"}
    assert hf_config.recognise(config, where="here")[1].decoder.rope_base == 3.0
    config["text_config"]["rope_scaling"]["rope_theta"] = 7.0
    assert hf_config.recognise(config, where="here")[1].decoder.rope_base == 7.0


def test_the_layer_that_llava_reads_counts_from_either_end():
    for layer, blocks in ((-2, 2), (-1, 3), (1, 1), (3, 3)):
        variant = hf_config.recognise(_stored("llava") | {"vision_feature_layer": layer}, where="here")[1]
        assert variant.vit.num_layers == blocks
    full = _stored("llava") | {"vision_feature_select_strategy": "full", "image_seq_length": 17}
    assert hf_config.recognise(full, where="here")[1].picture_len == 17


def test_a_t5_head_of_its_own_is_told_by_either_field():
    config = _stored("blip2_t5")
    for values, tied in (
        ({"tie_word_embeddings": False}, False),
        ({"tie_word_embeddings": True}, True),
        ({"tie_word_embeddings": True, "scale_decoder_outputs": False}, False),
        ({"tie_word_embeddings": True, "scale_decoder_outputs": True}, True),
    ):
        config["text_config"] |= values
        assert hf_config.recognise(config, where="here")[1].decoder.has_tied_head is tied


def test_what_a_t5s_file_says_of_its_activation_wins_over_what_follows_from_another_field():
    config = _stored("blip2_t5")
    for told, activation in (("gelu", "gelu"), ("gelu_new", "gelu_tanh"), ("relu", "relu"), ("silu", "silu")):
        config["text_config"]["dense_act_fn"] = told
        assert hf_config.recognise(config, where="here")[1].decoder.activation == activation
    del config["text_config"]["dense_act_fn"], config["text_config"]["is_gated_act"]
    assert hf_config.recognise(config, where="here")[1].decoder.activation == "gelu_tanh"
    config["text_config"]["feed_forward_proj"] = "gated-silu"
    assert hf_config.recognise(config, where="here")[1].decoder.activation == "silu"


@pytest.mark.parametrize("family", ["llama", "opt", "t5"])
def test_a_part_comes_from_a_language_model_alone(family):
    whole = {"llama": "ying_vlm", "opt": "blip2_opt", "t5": "blip2_t5"}[family]
    config = hf_config.recognise_part("decoder", _stored(family), where="here")
    assert type(config) is type(reference_goldens.variant_of(whole).decoder)
    with pytest.raises(errors.UserError, match="model_type"):
        hf_config.recognise_part("vit", _stored(family), where="here")


def test_a_part_that_a_model_does_not_have_is_refused():
    assert hf_config.recognise_part("vit", _stored("llava"), where="here").num_layers == 2
    with pytest.raises(errors.UserError, match="has no qformer"):
        hf_config.recognise_part("qformer", _stored("llava"), where="here")


def test_a_t5_that_says_nothing_has_the_sizes_of_its_class():
    """configuration_t5.py: T5Config(), but for the feed-forward layers, which must be gated."""
    t5 = hf_config._t5(hf_config.Values({"feed_forward_proj": "gated-gelu"}, "config.json"))
    assert (t5.vocab_size, t5.embed_dim, t5.mlp_dim, t5.num_heads, t5.head_dim) == (32_128, 512, 2_048, 8, 64)
    assert (t5.num_encoder_layers, t5.num_layers, t5.max_len, t5.start_id) == (6, 6, 512, 0)
    assert (t5.relative_buckets, t5.relative_max_distance, t5.rms_norm_epsilon) == (32, 128, 1e-6)
    assert (t5.activation, t5.has_tied_head) == ("gelu_tanh", True)
