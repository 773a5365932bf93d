"""A Hugging Face config.json -> the family and the variant. What we do not compute is refused by name.

The hub's files leave out values that equal the default of their class, so the defaults stand here beside the values
that are computed; source: transformers 5.24, models/*/configuration_*.py, and 4.31 where the older one differs. A value
that transformers never reads (`image_seq_length`, the Q-Former's `encoder_hidden_size`) is not read here either.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

from m3it_jax import errors
from m3it_jax.checkpoint_conversion.configs import clip_config, hf_processor, hf_values, llava_config
from m3it_jax.checkpoint_conversion.configs.hf_values import Values
from m3it_jax.models.decoder import DecoderConfig
from m3it_jax.models.encoder_decoder import EncoderDecoderConfig
from m3it_jax.models.projection import ProjectionConfig
from m3it_jax.models.qformer import QFormerConfig
from m3it_jax.models.variant import Variant
from m3it_jax.models.variants import CLIP_MEAN, CLIP_STD
from m3it_jax.models.vit import ViTConfig

# (model_type, model_type of the text model) -> (family, prompt format).
FAMILIES = {
    ("blip-2", "opt"): ("blip2_opt", "blip2"),
    ("blip-2", "t5"): ("blip2_t5", "blip2_t5"),
    ("blip-2", "llama"): ("ying_vlm", "ying_vlm"),  # Ying-VLM's class is a BLIP-2 with a LLaMA; no other is known
    ("instructblip", "llama"): ("instructblip_llama", "instructblip"),
    ("instructblip", "t5"): ("instructblip_t5", "instructblip_t5"),
    ("llava", "llama"): ("llava", "llava"),
}


def recognise(
    hf_config: Mapping[str, Any], *, where: str, preprocessor: Mapping[str, Any] | None = None
) -> tuple[str, Variant]:
    """Returns (family, variant) of a whole model.

    Args:
      hf_config: The values of config.json.
      where: Its path, for messages.
      preprocessor: How pictures are prepared, where that is known: mean and deviation of the pixels are read there, and
        the rest must be what the family does.

    Raises:
      UserError: the model is of no family, or has a feature that is not computed here; the field is named.
    """
    if llava_config.is_of_authors(hf_config):
        hf_config = llava_config.as_transformers(hf_config, where=where)
    values = Values(hf_config, where)
    kind, text = values.text("model_type", ""), values.part("text_config")
    language = text.text("model_type", "llama" if kind == "llava" else "opt")
    names = FAMILIES.get((kind, language))
    if names is None:
        known = ", ".join(f"{outer} with {inner}" for outer, inner in FAMILIES)
        values.refuse("model_type", f"{kind} with {language}" if language else kind, known)
    family, prompt = names
    for part in (values, *(values.part(name) for name in ("text_config", "vision_config", "qformer_config"))):
        _check_base(part)
    is_llava = kind == "llava"
    vit = _clip(values) if is_llava else _eva(values.part("vision_config"))
    decoder = _language(text, language)
    if is_llava and values.flag("tie_word_embeddings", False):  # configuration_llava.py: either field ties
        decoder = dataclasses.replace(decoder, has_tied_head=True)
    qformer = None if is_llava else _qformer(values, reads_text=kind == "instructblip")
    linear = ProjectionConfig(mlp_dim=0, activation="gelu")
    bridge = _bridge(values, decoder.embed_dim) if is_llava else linear
    if preprocessor is not None:
        vit = hf_processor.with_pixels(vit, Values(preprocessor, f"{where}: preprocessor_config.json"))
    return family, Variant(vit, qformer, bridge, decoder, prompt)


def recognise_part(
    part: str, hf_config: Mapping[str, Any], *, where: str
) -> ViTConfig | QFormerConfig | DecoderConfig | EncoderDecoderConfig | ProjectionConfig:
    """Returns the configuration of one part, from the config.json of a whole model or of a language model alone.

    Raises:
      UserError: the file describes no such part, or one that is not computed here.
    """
    values = Values(hf_config, where)
    kind = values.text("model_type", "")
    if part == "decoder" and kind in _LANGUAGE_MODELS:
        _check_base(values)
        return _language(values, kind)
    if part == "vit" and kind in clip_config.KINDS:
        _check_base(values)
        return clip_config.tower_alone(values)
    _, variant = recognise(hf_config, where=where)
    found = getattr(variant, part)
    if found is None:
        raise errors.UserError(f"{where}: model_type={kind!r} has no {part}; take it from another folder")
    return found


def _check_base(values: Values) -> None:
    """Refuses what any configuration may ask for (configuration_utils.py of 5.24, and of 4.57 for the last two)."""
    values.must_be("quantization_config", None)
    for name in ("per_layer_config", "pruned_heads", "tie_encoder_decoder"):
        if values.get(name, None):
            values.refuse(name, values.get(name, None), "an empty one")


def _eva(values: Values) -> ViTConfig:
    values.must_hold("qkv_bias")
    width, num_heads = values.whole("hidden_size", 1_408), values.whole("num_attention_heads", 16)
    values.multiple("hidden_size", width, of="num_attention_heads", by=num_heads)
    image_size = values.whole("image_size", 224, high=hf_values.MOST_PIXELS)
    return ViTConfig(
        image_size=image_size,
        patch_size=values.whole("patch_size", 14, high=image_size),
        embed_dim=width,
        mlp_dim=values.whole("intermediate_size", 6_144),
        num_layers=values.whole("num_hidden_layers", 39, high=hf_values.MOST_LAYERS),
        num_heads=num_heads,
        activation=values.choice("hidden_act", hf_values.ACTIVATIONS, "gelu"),
        layer_norm_epsilon=values.number("layer_norm_eps", 1e-6),
        pixel_mean=CLIP_MEAN,
        pixel_std=CLIP_STD,
        has_patch_bias=True,
        has_input_norm=False,
        has_final_norm=True,
        keeps_class_token=True,
        image_fit="stretch",
    )


def _clip(whole: Values) -> ViTConfig:
    """Returns the tower up to the layer that is read: hidden state 0 is what enters the first block."""
    blocks = clip_config.tower(whole)
    layer = whole.whole("vision_feature_layer", -2, low=-blocks.num_layers - 1)
    num_layers = layer if layer >= 0 else blocks.num_layers + 1 + layer
    if not 1 <= num_layers <= blocks.num_layers:
        whole.refuse("vision_feature_layer", layer, f"a layer after the first of {blocks.num_layers} blocks")
    strategy = whole.choice("vision_feature_select_strategy", {"default": "default", "full": "full"}, "default")
    return dataclasses.replace(blocks, num_layers=num_layers, keeps_class_token=strategy == "full")


def _bridge(values: Values, width: int) -> ProjectionConfig:
    values.must_hold("multimodal_projector_bias")
    return ProjectionConfig(
        mlp_dim=width, activation=values.choice("projector_hidden_act", hf_values.ACTIVATIONS, "gelu")
    )


def _qformer(whole: Values, *, reads_text: bool) -> QFormerConfig:
    values = whole.part("qformer_config")
    values.must_be("use_qformer_text_input", False)
    values.must_be("position_embedding_type", "absolute")
    dropout_rate = values.number("hidden_dropout_prob", 0.1, low=0.0)
    if values.number("attention_probs_dropout_prob", 0.1, low=0.0) != dropout_rate:
        values.refuse(
            "attention_probs_dropout_prob", values.get("attention_probs_dropout_prob", 0.1), str(dropout_rate)
        )
    width, num_heads = values.whole("hidden_size", 768), values.whole("num_attention_heads", 12)
    values.multiple("hidden_size", width, of="num_attention_heads", by=num_heads)
    num_layers = values.whole("num_hidden_layers", 12, high=hf_values.MOST_LAYERS)
    # A layer that reads the picture and those up to the next one are repeated: nothing may be left over.
    every = min(values.whole("cross_attention_frequency", 2), num_layers)
    values.multiple("num_hidden_layers", num_layers, of="cross_attention_frequency", by=every)
    return QFormerConfig(
        num_queries=whole.whole("num_query_tokens", 32),
        embed_dim=width,
        mlp_dim=values.whole("intermediate_size", 3_072),
        num_layers=num_layers,
        num_heads=num_heads,
        cross_attention_every=every,
        activation=values.choice("hidden_act", hf_values.ACTIVATIONS, "gelu"),
        layer_norm_epsilon=values.number("layer_norm_eps", 1e-12),
        dropout_rate=dropout_rate,
        text_vocab_size=values.whole("vocab_size", 30_522) if reads_text else 0,
        text_max_len=values.whole("max_position_embeddings", 512) if reads_text else 0,
    )


def _llama(values: Values) -> DecoderConfig:
    for name in ("attention_bias", "mlp_bias"):
        values.must_be(name, False)
    # modeling_rope_utils.py: what stands under the older name replaces what stands under the newer one.
    rope = values.part("rope_scaling" if values.get("rope_scaling", {}) else "rope_parameters")
    for name in ("rope_type", "type"):
        rope.must_be(name, "default")
    rope.must_be("partial_rotary_factor", 1.0)
    rope.must_be("full_attention", None)  # settings by kind of layer
    width, num_heads = values.whole("hidden_size", 4_096), values.whole("num_attention_heads", 32)
    num_kv_heads = values.whole("num_key_value_heads", num_heads)
    values.multiple("num_attention_heads", num_heads, of="num_key_value_heads", by=num_kv_heads)
    if values.get("head_dim", None) is None:
        values.multiple("hidden_size", width, of="num_attention_heads", by=num_heads)
    head_dim = values.whole("head_dim", width // num_heads)
    values.multiple("head_dim", head_dim, of="two halves", by=2)
    return DecoderConfig(
        vocab_size=values.whole("vocab_size", 32_000),
        embed_dim=width,
        mlp_dim=values.whole("intermediate_size", 11_008),
        num_layers=values.whole("num_hidden_layers", 32, high=hf_values.MOST_LAYERS),
        num_heads=num_heads,
        num_kv_heads=num_kv_heads,
        head_dim=head_dim,
        max_len=values.whole("max_position_embeddings", 2_048),
        norm="rms",
        norm_epsilon=values.number("rms_norm_eps", 1e-6),
        positions="rotary",
        rope_base=rope.number("rope_theta", values.number("rope_theta", 10_000.0)),
        position_offset=0,
        has_biases=False,
        mlp="gated",
        activation=values.choice("hidden_act", hf_values.ACTIVATIONS, "silu"),
        has_tied_head=values.flag("tie_word_embeddings", False),
    )


def _opt(values: Values) -> DecoderConfig:
    for name in ("do_layer_norm_before", "enable_bias", "layer_norm_elementwise_affine"):
        values.must_hold(name)
    values.must_be("tie_word_embeddings", True)  # with null, a head of its own may be there: the tensors tell
    values.must_be("_remove_final_layer_norm", False)
    width, num_heads = values.whole("hidden_size", 768), values.whole("num_attention_heads", 12)
    values.must_be("word_embed_proj_dim", width, also=None)
    values.multiple("hidden_size", width, of="num_attention_heads", by=num_heads)
    return DecoderConfig(
        vocab_size=values.whole("vocab_size", 50_272),
        embed_dim=width,
        mlp_dim=values.whole("ffn_dim", 3_072),
        num_layers=values.whole("num_hidden_layers", 12, high=hf_values.MOST_LAYERS),
        num_heads=num_heads,
        num_kv_heads=num_heads,
        head_dim=width // num_heads,
        max_len=values.whole("max_position_embeddings", 2_048),
        norm="layer",
        norm_epsilon=1e-5,  # torch's default: OPT's configuration has no field for it
        positions="learned",
        rope_base=10_000.0,
        position_offset=2,
        has_biases=True,
        mlp="plain",
        activation=values.choice("activation_function", hf_values.ACTIVATIONS, "relu"),
        has_tied_head=True,
    )


# configuration_t5.py, `attribute_map`.
_T5_OTHER_NAMES = {
    "hidden_size": "d_model",
    "num_attention_heads": "num_heads",
    "num_hidden_layers": "num_layers",
    "head_dim": "d_kv",
}


def _t5_activation(values: Values) -> str:
    """Returns the activation of the gated layer.

    `feed_forward_proj` says it, and what transformers derives from that (`configuration_t5.py`) stands beside it in
    files: a file in which they differ is read by what was derived.
    """
    gated = {f"gated-{name}": ours for name, ours in hf_values.ACTIVATIONS.items()} | {"gated-gelu": "gelu_tanh"}
    told = values.choice("feed_forward_proj", gated, "relu")
    values.must_hold("is_gated_act")
    return values.choice("dense_act_fn", hf_values.ACTIVATIONS, "") if values.has("dense_act_fn") else told


def _t5(values: Values) -> EncoderDecoderConfig:
    num_layers = values.whole("num_layers", 6, high=hf_values.MOST_LAYERS)
    for theirs, name in _T5_OTHER_NAMES.items():  # of transformers 5, which would let them win
        if values.get(theirs, None) is not None:
            values.must_be(theirs, values.get(name, None))
    # transformers 5 always writes `tie_word_embeddings` true and says here whether outputs are scaled. What is not
    # scaled has a head of its own, or one with the numbers of the embedding (planning.py).
    scales = values.flag("scale_decoder_outputs", values.flag("tie_word_embeddings", True))
    buckets = values.whole("relative_attention_num_buckets", 32, low=4)  # with fewer, logarithms of 0 are taken
    return EncoderDecoderConfig(
        vocab_size=values.whole("vocab_size", 32_128),
        embed_dim=values.whole("d_model", 512),
        mlp_dim=values.whole("d_ff", 2_048),
        num_encoder_layers=num_layers,
        num_layers=values.whole("num_decoder_layers", num_layers, high=hf_values.MOST_LAYERS),
        num_heads=values.whole("num_heads", 8),
        head_dim=values.whole("d_kv", 64),
        relative_buckets=buckets,
        relative_max_distance=values.whole("relative_attention_max_distance", 128, low=buckets // 2 + 1),
        activation=_t5_activation(values),
        has_tied_head=scales,
        rms_norm_epsilon=values.number("layer_norm_epsilon", 1e-6),
        max_len=values.whole("n_positions", 512),
        start_id=values.whole("decoder_start_token_id", values.whole("pad_token_id", 0, low=0), low=0),
    )


_LANGUAGE_MODELS: dict[str, Callable[[Values], DecoderConfig | EncoderDecoderConfig]] = {
    "llama": _llama,
    "opt": _opt,
    "t5": _t5,
}


def _language(values: Values, kind: str) -> DecoderConfig | EncoderDecoderConfig:
    return _LANGUAGE_MODELS[kind](values)
