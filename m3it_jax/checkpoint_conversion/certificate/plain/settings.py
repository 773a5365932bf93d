"""A `config.json` made complete: its writers leave out what equals the library's default.

The defaults are those of transformers 5.24.0 (configuration_*.py); 4.x has the same ones. A setting that the plain
models do not know (another kind of rotary positions, a norm after the layer) is refused: to pass over it in silence
would certify a model that computes something else.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from m3it_jax import errors
from m3it_jax.checkpoint_conversion.certificate.plain import arithmetic, folder

CONFIG_FILE = "config.json"

_EVA = {
    "hidden_size": 1_408,
    "num_hidden_layers": 39,
    "num_attention_heads": 16,
    "image_size": 224,
    "patch_size": 14,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-6,
}
_CLIP = {
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 224,
    "patch_size": 32,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}
# Of a LLaVA whose file says nothing of its tower (configuration_llava.py): CLIP ViT-L/14-336.
_LLAVA_TOWER = {
    "hidden_size": 1_024,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
    "image_size": 336,
    "patch_size": 14,
}
_QFORMER = {
    "vocab_size": 30_522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "hidden_act": "gelu",
    "layer_norm_eps": 1e-12,
    "cross_attention_frequency": 2,
    "max_position_embeddings": 512,
}
_LLAMA = {
    "vocab_size": 32_000,
    "hidden_size": 4_096,
    "num_hidden_layers": 32,
    "num_attention_heads": 32,
    "num_key_value_heads": None,
    "head_dim": None,
    "hidden_act": "silu",
    "max_position_embeddings": 2_048,
    "rms_norm_eps": 1e-6,
    "rope_theta": 10_000.0,
}
_OPT = {
    "vocab_size": 50_272,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "max_position_embeddings": 2_048,
    "activation_function": "relu",
}
_T5 = {
    "vocab_size": 32_128,
    "d_model": 512,
    "num_layers": 6,
    "num_decoder_layers": None,
    "num_heads": 8,
    "relative_attention_max_distance": 128,
    "layer_norm_epsilon": 1e-6,
    "feed_forward_proj": "relu",
}
_TEXT_DEFAULTS: dict[str, dict[str, Any]] = {"llama": _LLAMA, "opt": _OPT, "t5": _T5}
_VISION_DEFAULTS: dict[str, dict[str, Any]] = {"blip-2": _EVA, "instructblip": _EVA, "llava": _CLIP}

# Fields with another meaning than the plain models give them, and the values that change nothing.
_ONLY: dict[str, tuple[Any, ...]] = {
    "attention_bias": (False,),
    "mlp_bias": (False,),
    "rope_scaling": (None, {}, {"type": "default"}, {"rope_type": "default"}),
    "do_layer_norm_before": (True,),
    "_remove_final_layer_norm": (False,),
    "layer_norm_elementwise_affine": (True,),
    "multimodal_projector_bias": (True, False),
    "vision_feature_select_strategy": ("default", "full"),
}


def read(path: Path) -> dict[str, Any]:
    """Returns the configuration of a folder with `text_config` and, for a model that sees, its other parts complete.

    Raises:
      UserError: there is none, its model is not one of those written here, or it asks for what they do not have.
    """
    file = path / CONFIG_FILE
    values = folder.read_json(file)
    kind = values.get("model_type")
    if kind in _TEXT_DEFAULTS:
        return {"model_type": kind, "text_config": _text(values, file)}
    if kind not in _VISION_DEFAULTS:
        known = ", ".join([*_VISION_DEFAULTS, *_TEXT_DEFAULTS])
        raise errors.UserError(f"{file}: model_type={kind!r} is not one of {known}; no certificate can be made of it")
    text = values.get("text_config") or {}
    if text.get("model_type", "llama" if kind == "llava" else "opt") not in _TEXT_DEFAULTS:
        known = ", ".join(_TEXT_DEFAULTS)
        raise errors.UserError(f"{file}: text_config.model_type={text['model_type']!r} is not one of {known}")
    default_tower = _LLAVA_TOWER if kind == "llava" else {}
    complete = {
        **values,
        "text_config": _text({"model_type": "llama" if kind == "llava" else "opt", **text}, file),
        "vision_config": _checked({**_VISION_DEFAULTS[kind], **(values.get("vision_config") or default_tower)}, file),
    }
    if kind != "llava":
        complete["qformer_config"] = _checked({**_QFORMER, **(values.get("qformer_config") or {})}, file)
    return _checked(complete, file)


def _text(values: Mapping[str, Any], file: Path) -> dict[str, Any]:
    text = {**_TEXT_DEFAULTS[values["model_type"]], **values}
    if text["model_type"] == "llama":
        rope = text.get("rope_parameters") or {}
        if rope.get("rope_type", "default") != "default":
            raise errors.UserError(f"{file}: rope_type={rope['rope_type']!r} is not known here; only 'default' is")
        text["rope_theta"] = rope.get("rope_theta", text["rope_theta"])
        text["num_key_value_heads"] = text["num_key_value_heads"] or text["num_attention_heads"]
        text["head_dim"] = text["head_dim"] or text["hidden_size"] // text["num_attention_heads"]
    elif text["model_type"] == "t5":
        # `gated-gelu` means the tanh form: configuration_t5.py, for checkpoints made before it had a name of its own.
        # A file that says what follows from it is taken at its word, as BLIP-2's: they have the exact form.
        gated, _, activation = text["feed_forward_proj"].rpartition("-")
        text.setdefault("is_gated_act", bool(gated))
        text.setdefault("dense_act_fn", "gelu_new" if text["feed_forward_proj"] == "gated-gelu" else activation)
        text["num_decoder_layers"] = text["num_decoder_layers"] or text["num_layers"]
        # transformers 4 tells it by tied embeddings, 5 has a field of its own.
        text["scale_decoder_outputs"] = text.get("scale_decoder_outputs", text.get("tie_word_embeddings", True))
    return _checked(text, file)


def _checked(values: dict[str, Any], file: Path) -> dict[str, Any]:
    for name, allowed in _ONLY.items():
        if name in values and values[name] not in allowed:
            raise errors.UserError(f"{file}: {name}={values[name]!r} is not known here, only {allowed}")
    for name in ("hidden_act", "activation_function", "dense_act_fn", "projector_hidden_act"):
        if values.get(name, "gelu") not in arithmetic.ACTIVATIONS:
            raise errors.UserError(f"{file}: {name}={values[name]!r} is not one of {', '.join(arithmetic.ACTIVATIONS)}")
    return values
