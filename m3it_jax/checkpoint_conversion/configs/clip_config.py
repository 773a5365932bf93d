"""CLIP's vision tower: inside a LLaVA, or published beside its text tower (`openai/clip-*`), or alone."""

from collections.abc import Mapping

from m3it_jax.checkpoint_conversion.configs import hf_values
from m3it_jax.checkpoint_conversion.configs.hf_values import Values
from m3it_jax.models.variants import CLIP_MEAN, CLIP_STD
from m3it_jax.models.vit import ViTConfig

KINDS = ("clip", "clip_vision_model")  # model types of folders that have a tower and no language model

# Of a LLaVA whose file says nothing at all of its tower (configuration_llava.py, `init_kwargs`): ViT-L/14-336. A file
# that says something gets what it leaves out from CLIPVisionConfig, as every other CLIP.
_OF_LLAVA = {
    "hidden_size": 1_024,
    "intermediate_size": 4_096,
    "patch_size": 14,
    "image_size": 336,
    "num_hidden_layers": 24,
    "num_attention_heads": 16,
}


def tower(whole: Values) -> ViTConfig:
    """Returns all blocks of the tower of a LLaVA; which one is read is the caller's.

    Raises:
      UserError: the tower is no CLIP, or has a value that is not computed.
    """
    is_default = whole.get("vision_config", None) is None
    return _tower(Values(_OF_LLAVA, "") if is_default else whole.part("vision_config"))


def tower_alone(values: Values) -> ViTConfig:
    """Returns all blocks of the tower of a folder of `KINDS`.

    Raises:
      UserError: a value is not computed.
    """
    if values.get("model_type", "") != "clip":
        return _tower(values)
    # configuration_clip.py: what the older spelling says wins.
    older = values.get("vision_config_dict", None)
    return _tower(values.part("vision_config" if not isinstance(older, Mapping) else "vision_config_dict"))


def _tower(values: Values) -> ViTConfig:
    values.must_be("model_type", "clip_vision_model")
    values.must_be("num_channels", 3)
    width, num_heads = values.whole("hidden_size", 768), values.whole("num_attention_heads", 12)
    values.multiple("hidden_size", width, of="num_attention_heads", by=num_heads)
    image_size = values.whole("image_size", 224, high=hf_values.MOST_PIXELS)
    return ViTConfig(
        image_size=image_size,
        patch_size=values.whole("patch_size", 32, high=image_size),
        embed_dim=width,
        mlp_dim=values.whole("intermediate_size", 3_072),
        num_layers=values.whole("num_hidden_layers", 12, high=hf_values.MOST_LAYERS),
        num_heads=num_heads,
        activation=values.choice("hidden_act", hf_values.ACTIVATIONS, "quick_gelu"),
        layer_norm_epsilon=values.number("layer_norm_eps", 1e-5),
        pixel_mean=CLIP_MEAN,
        pixel_std=CLIP_STD,
        has_patch_bias=False,
        has_input_norm=True,
        has_final_norm=False,
        keeps_class_token=False,
        image_fit="crop",
    )
