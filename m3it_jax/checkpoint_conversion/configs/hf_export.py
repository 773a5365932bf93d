"""A variant -> the JSON files of a Hugging Face folder, for models that were not imported from one.

What was imported gives back its own files. `transformers` loads the rest as a BLIP-2, an InstructBLIP or a LLaVA; a
Ying-VLM and a MiniGPT-4 are a BLIP-2 with a LLaMA as its text model.
"""

import dataclasses
from typing import Any

from m3it_jax import errors
from m3it_jax.checkpoint_conversion.configs import hf_config, hf_processor, hf_values
from m3it_jax.models.decoder import DecoderConfig
from m3it_jax.models.encoder_decoder import EncoderDecoderConfig
from m3it_jax.models.qformer import QFormerConfig
from m3it_jax.models.variant import Variant
from m3it_jax.models.vit import ViTConfig

Json = dict[str, Any]

_THEIR_ACTIVATIONS = {ours: theirs for theirs, ours in reversed(hf_values.ACTIVATIONS.items())}
_CLASSES = {
    "blip-2": "Blip2ForConditionalGeneration",
    "instructblip": "InstructBlipForConditionalGeneration",
    "llava": "LlavaForConditionalGeneration",
}
_PROCESSORS = {"blip-2": "Blip2Processor", "instructblip": "InstructBlipProcessor", "llava": "LlavaProcessor"}


@dataclasses.dataclass(frozen=True)
class TokenIds:
    """Ids that the configuration names.

    Attributes:
      bos: Begin of a text; None if there is none.
      eos: What ends an answer: the end id and, in formats that end one at a text, each token with that text.
      pad: Padding.
      image: The placeholder, which stands where a picture's vectors go.
    """

    bos: int | None
    eos: tuple[int, ...]
    pad: int
    image: int

    def named(self) -> dict[str, Any]:
        """Returns the ids of text under transformers' names."""
        ends = self.eos[0] if len(self.eos) == 1 else list(self.eos)
        begin = {} if self.bos is None else {"bos_token_id": self.bos}
        return begin | {"eos_token_id": ends, "pad_token_id": self.pad}


def export_family(variant: Variant) -> str:
    """Returns the family whose shape an exported folder has.

    Raises:
      UserError: transformers has no class that computes this model; the field is named.
    """
    config = config_json(variant, TokenIds(bos=None, eos=(0,), pad=0, image=0), dtype="float32")
    return hf_config.FAMILIES[(config["model_type"], config["text_config"]["model_type"])][0]


def export_files(variant: Variant, ids: TokenIds, *, dtype: str) -> dict[str, Json]:
    """Returns {file name: values} of the configuration, generation and picture files.

    Args:
      variant: The model.
      ids: Special ids of its tokenizer.
      dtype: That of the stored tensors, as torch spells it.

    Raises:
      UserError: transformers has no class that computes this model; the field is named.
    """
    config = config_json(variant, ids, dtype=dtype)
    generation = ids.named()
    if variant.is_encoder_decoder:
        generation["decoder_start_token_id"] = config["text_config"]["decoder_start_token_id"]
    processor: Json = {"processor_class": _PROCESSORS[config["model_type"]]}
    if variant.qformer is not None:
        processor["num_query_tokens"] = variant.qformer.num_queries
    else:
        processor |= {
            "image_token": "<image>",
            "num_additional_image_tokens": 1,  # the class token, which "default" leaves out again
            "patch_size": variant.vit.patch_size,
            "vision_feature_select_strategy": config["vision_feature_select_strategy"],
        }
    return {
        "config.json": config,
        "generation_config.json": generation,
        "preprocessor_config.json": _preprocessor(variant.vit) | {"processor_class": processor["processor_class"]},
        "processor_config.json": processor,
    }


def fillers(variant: Variant) -> dict[str, tuple[tuple[int, ...], float]]:
    """Returns {canonical key: (shape, value)} of tensors that transformers asks for and this model never had."""
    if variant.qformer is not None:
        return {}
    key, shape = "vision_tower.vision_model.post_layernorm", (variant.vit.embed_dim,)
    return {f"{key}.weight": (shape, 1.0), f"{key}.bias": (shape, 0.0)}


def config_json(variant: Variant, ids: TokenIds, *, dtype: str) -> Json:
    """Returns the values of config.json; see `export_files`."""
    kind = "llava" if variant.qformer is None else "instructblip" if variant.qformer.text_vocab_size else "blip-2"
    values: Json = {
        "architectures": [_CLASSES[kind]],
        "image_token_index": ids.image,
        "model_type": kind,
        "text_config": _text(variant.decoder, ids) | {"torch_dtype": dtype},
        "torch_dtype": dtype,
        "vision_config": _vision(variant.vit, kind),
    }
    if variant.qformer is not None:
        values |= {
            "num_query_tokens": variant.qformer.num_queries,
            "qformer_config": _qformer(variant.qformer, kind, picture_dim=variant.vit.embed_dim),
            "use_decoder_only_language_model": not variant.is_encoder_decoder,
        }
    else:
        values |= {
            "image_seq_length": variant.vit.num_tokens,
            "projector_hidden_act": _THEIR_ACTIVATIONS[variant.projection.activation],
            "vision_feature_layer": -1,  # the blocks after the one that is read are not there
            "vision_feature_select_strategy": "full" if variant.vit.keeps_class_token else "default",
        }
    _check(variant, values)
    return values


def _check(variant: Variant, values: Json) -> None:
    """Reads the configuration back: what it cannot say is refused by name."""
    where = "the model to export"
    _, found = hf_config.recognise(values, where=where, preprocessor=_preprocessor(variant.vit))
    for part in ("vit", "qformer", "projection", "decoder"):
        ours, theirs = getattr(variant, part), getattr(found, part)
        if type(ours) is not type(theirs):
            raise errors.UserError(
                f"{where}: transformers has no class with this {part}; export only what was imported"
            )
        for field in dataclasses.fields(ours) if ours is not None else ():
            mine, other = getattr(ours, field.name), getattr(theirs, field.name)
            if mine != other and not (part == "projection" and not variant.projection.mlp_dim):
                raise errors.UserError(
                    f"{where}: {part}.{field.name}={mine!r} has no place in transformers, which computes {other!r}; "
                    f"train with {other!r} to export"
                )


def _vision(config: ViTConfig, kind: str) -> Json:
    values = {
        "hidden_act": _THEIR_ACTIVATIONS[config.activation],
        "hidden_size": config.embed_dim,
        "image_size": config.image_size,
        "intermediate_size": config.mlp_dim,
        "layer_norm_eps": config.layer_norm_epsilon,
        "num_attention_heads": config.num_heads,
        "num_hidden_layers": config.num_layers,
        "patch_size": config.patch_size,
    }
    if kind == "llava":
        return values | {"model_type": "clip_vision_model"}
    return values | {"model_type": f"{kind.replace('-', '_')}_vision_model", "qkv_bias": True}


def _qformer(config: QFormerConfig, kind: str, *, picture_dim: int) -> Json:
    values = {
        "attention_probs_dropout_prob": config.dropout_rate,
        "cross_attention_frequency": config.cross_attention_every,
        "encoder_hidden_size": picture_dim,
        "hidden_act": _THEIR_ACTIVATIONS[config.activation],
        "hidden_dropout_prob": config.dropout_rate,
        "hidden_size": config.embed_dim,
        "intermediate_size": config.mlp_dim,
        "layer_norm_eps": config.layer_norm_epsilon,
        "model_type": f"{kind.replace('-', '_')}_qformer",
        "num_attention_heads": config.num_heads,
        "num_hidden_layers": config.num_layers,
    }
    if not config.text_vocab_size:
        return values
    return values | {"max_position_embeddings": config.text_max_len, "vocab_size": config.text_vocab_size}


def _text(config: DecoderConfig | EncoderDecoderConfig, ids: TokenIds) -> Json:
    shared = {"vocab_size": config.vocab_size} | ids.named()
    if isinstance(config, EncoderDecoderConfig):
        return shared | _t5(config)
    return shared | (_opt(config) if config.positions == "learned" else _llama(config))


def _llama(config: DecoderConfig) -> Json:
    return {
        "head_dim": config.head_dim,
        "hidden_act": _THEIR_ACTIVATIONS[config.activation],
        "hidden_size": config.embed_dim,
        "intermediate_size": config.mlp_dim,
        "max_position_embeddings": config.max_len,
        "model_type": "llama",
        "num_attention_heads": config.num_heads,
        "num_hidden_layers": config.num_layers,
        "num_key_value_heads": config.num_kv_heads,
        "rms_norm_eps": config.norm_epsilon,
        "rope_theta": config.rope_base,
        "tie_word_embeddings": config.has_tied_head,
    }


def _opt(config: DecoderConfig) -> Json:
    return {
        "activation_function": _THEIR_ACTIVATIONS[config.activation],
        "ffn_dim": config.mlp_dim,
        "hidden_size": config.embed_dim,
        "max_position_embeddings": config.max_len,
        "model_type": "opt",
        "num_attention_heads": config.num_heads,
        "num_hidden_layers": config.num_layers,
        "word_embed_proj_dim": config.embed_dim,
    }


def _t5(config: EncoderDecoderConfig) -> Json:
    activation = _THEIR_ACTIVATIONS[config.activation]
    return {
        "d_ff": config.mlp_dim,
        "d_kv": config.head_dim,
        "d_model": config.embed_dim,
        "decoder_start_token_id": config.start_id,
        "dense_act_fn": activation,
        "feed_forward_proj": "gated-gelu" if "gelu" in activation else f"gated-{activation}",
        "is_encoder_decoder": True,
        "is_gated_act": True,
        "layer_norm_epsilon": config.rms_norm_epsilon,
        "model_type": "t5",
        "n_positions": config.max_len,
        "num_decoder_layers": config.num_layers,
        "num_heads": config.num_heads,
        "num_layers": config.num_encoder_layers,
        "relative_attention_max_distance": config.relative_max_distance,
        "relative_attention_num_buckets": config.relative_buckets,
        "tie_word_embeddings": config.has_tied_head,
    }


def _preprocessor(config: ViTConfig) -> Json:
    square = {"height": config.image_size, "width": config.image_size}
    values: Json = {
        "do_convert_rgb": True,
        "do_normalize": True,
        "do_rescale": True,
        "do_resize": True,
        "image_mean": list(config.pixel_mean),
        "image_std": list(config.pixel_std),
        "resample": hf_processor.CUBIC,
        "rescale_factor": 1 / 255,
    }
    if config.image_fit == "stretch":
        return values | {"image_processor_type": "BlipImageProcessor", "size": square}
    return values | {
        "crop_size": square,
        "do_center_crop": True,
        "image_processor_type": "CLIPImageProcessor",
        "size": {"shortest_edge": config.image_size},
    }
