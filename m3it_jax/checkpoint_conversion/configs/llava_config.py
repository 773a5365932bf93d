"""LLaVA's config.json as its authors write it (`LlavaLlamaForCausalLM`) -> the form of transformers.

A LLaMA's configuration with fields `mm_*` beside it, and the name of the tower where transformers has its sizes.
Source: haotian-liu/LLaVA llava/model/{llava_arch.py,language_model/llava_llama.py,multimodal_projector/builder.py} and
llava/train/train.py, ModelArguments.
"""

from collections.abc import Mapping
from typing import Any

from m3it_jax.checkpoint_conversion.configs.hf_values import Values

_CLASSES = {"LlavaLlamaForCausalLM"}
_LARGE = {"hidden_size": 1_024, "intermediate_size": 4_096, "num_attention_heads": 16, "num_hidden_layers": 24}
# Last word of `mm_vision_tower`, which may be a path -> the tower's sizes (config.json of openai/<name>).
_TOWERS: dict[str, dict[str, int]] = {
    "clip-vit-large-patch14-336": {**_LARGE, "patch_size": 14, "image_size": 336},
    "clip-vit-large-patch14": {**_LARGE, "patch_size": 14, "image_size": 224},
}
_PROJECTORS = {"mlp2x_gelu": "gelu"}
_FEATURES = {"patch": "default", "cls_patch": "full"}
# Fields that change what is computed, and the only value that is computed here.
_ONLY: dict[str, Any] = {
    "mm_use_im_start_end": False,  # marks around pictures in the prompt
    "mm_use_im_patch_token": False,
    "mm_patch_merge_type": "flat",
    "mm_resampler_type": None,
    "use_mm_proj": True,
}
_IMAGES = {"pad": "pad", "square": "square"}  # how a picture becomes a square; "anyres" cuts it into several


def is_of_authors(values: Mapping[str, Any]) -> bool:
    """Returns whether a config.json is in the authors' form."""
    named = values.get("architectures")
    is_named = isinstance(named, list) and any(isinstance(name, str) and name in _CLASSES for name in named)
    return is_named or values.get("model_type") == "llava_llama" or "mm_vision_tower" in values


def as_transformers(values: Mapping[str, Any], *, where: str) -> dict[str, Any]:
    """Returns the values of a config.json of transformers' LLaVA.

    Raises:
      UserError: a field asks for something that is not computed, or names a tower whose sizes are not known here.
    """
    read = Values(values, where)
    for name, only in _ONLY.items():
        read.must_be(name, only)
    tower = read.text("mm_vision_tower", "").rstrip("/").rsplit("/", 1)[-1]
    if tower not in _TOWERS:
        read.refuse("mm_vision_tower", read.get("mm_vision_tower", None), " or ".join(_TOWERS))
    read.choice("image_aspect_ratio", _IMAGES, "square")
    text = {name: value for name, value in values.items() if not name.startswith("mm_")}
    return {
        "model_type": "llava",
        "text_config": text | {"model_type": "llama"},
        "vision_config": {"model_type": "clip_vision_model", **_TOWERS[tower]},
        "projector_hidden_act": read.choice("mm_projector_type", _PROJECTORS, "linear"),
        "quantization_config": values.get("quantization_config"),
        "vision_feature_layer": read.whole("mm_vision_select_layer", -2, low=-(1 << 31)),
        "vision_feature_select_strategy": read.choice("mm_vision_select_feature", _FEATURES, "patch"),
    }
