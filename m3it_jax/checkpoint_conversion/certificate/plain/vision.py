"""The vision towers: BLIP-2's EVA ViT-g and LLaVA's CLIP ViT-L.

Sources: transformers 5.24.0 models/blip_2/modeling_blip_2.py (Blip2VisionModel), models/clip/modeling_clip.py
(CLIPVisionModel). Their hidden states: index 0 is what goes into the first layer.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from m3it_jax.checkpoint_conversion.certificate.plain import arithmetic
from m3it_jax.checkpoint_conversion.certificate.plain.folder import Tensors


def eva_states(tensors: Tensors, config: Mapping[str, Any], pixels: np.ndarray) -> Iterator[np.ndarray]:
    """Yields [P, D]: the embedded patches, then what each layer gives out, then the normed output.

    Args:
      tensors: Those below `vision_model.`.
      config: Its `vision_config`, complete.
      pixels: A normalised picture [3, h, w].
    """
    epsilon = config["layer_norm_eps"]
    x = _embedded(tensors, config, pixels)
    x = x + tensors("embeddings.position_embedding").reshape(len(x), -1)
    yield x
    for number in range(config["num_hidden_layers"]):
        layer = tensors.under(f"encoder.layers.{number}.")
        normed = arithmetic.layer_norm(layer, "layer_norm1", x, epsilon=epsilon)
        query, key, value = np.split(arithmetic.linear(layer, "self_attn.qkv", normed), 3, axis=-1)
        attended = _attention((query, key, value), config["num_attention_heads"])
        x = x + arithmetic.linear(layer, "self_attn.projection", attended)
        x = _feed_forward(layer, config, x)
        yield x
    yield arithmetic.layer_norm(tensors, "post_layernorm", x, epsilon=epsilon)


def clip_states(
    tensors: Tensors, config: Mapping[str, Any], pixels: np.ndarray, *, num_layers: int
) -> Iterator[np.ndarray]:
    """Yields [P, D]: the normed patches, then what each of the first `num_layers` layers gives out.

    Args:
      tensors: Those below `vision_tower.vision_model.` or `vision_tower.`.
      config: Its `vision_config`, complete.
      pixels: A normalised picture [3, h, w].
      num_layers: LLaVA takes the hidden states before the last layer (`vision_feature_layer` -2).
    """
    x = _embedded(tensors, config, pixels)
    x = x + tensors("embeddings.position_embedding.weight")
    x = arithmetic.layer_norm(tensors, "pre_layrnorm", x, epsilon=config["layer_norm_eps"])
    yield x
    for number in range(num_layers):
        layer = tensors.under(f"encoder.layers.{number}.")
        normed = arithmetic.layer_norm(layer, "layer_norm1", x, epsilon=config["layer_norm_eps"])
        parts = [arithmetic.linear(layer, f"self_attn.{name}_proj", normed) for name in "qkv"]
        attended = _attention(parts, config["num_attention_heads"])
        x = x + arithmetic.linear(layer, "self_attn.out_proj", attended)
        x = _feed_forward(layer, config, x)
        yield x


def _embedded(tensors: Tensors, config: Mapping[str, Any], pixels: np.ndarray) -> np.ndarray:
    """Returns [P, D]: the class token, then the patches row by row, without positions."""
    size = config["patch_size"]
    rows, columns = pixels.shape[1] // size, pixels.shape[2] // size
    whole = pixels[:, : rows * size, : columns * size].astype(np.float64)  # a convolution reads no part of a patch
    patches = whole.reshape(3, rows, size, columns, size).transpose(1, 3, 0, 2, 4)
    kernel = tensors("embeddings.patch_embedding.weight")
    x = patches.reshape(rows * columns, -1) @ kernel.reshape(len(kernel), -1).T
    bias = tensors.optional("embeddings.patch_embedding.bias")
    x = x if bias is None else x + bias
    return np.concatenate([tensors("embeddings.class_embedding").reshape(1, -1), x])


def _attention(parts: Any, num_heads: int) -> np.ndarray:
    query, key, value = (arithmetic.heads(part, num_heads) for part in parts)
    return arithmetic.attend(query, key, value, added=0.0, scale=query.shape[-1] ** -0.5)


def _feed_forward(layer: Tensors, config: Mapping[str, Any], x: np.ndarray) -> np.ndarray:
    normed = arithmetic.layer_norm(layer, "layer_norm2", x, epsilon=config["layer_norm_eps"])
    hidden = arithmetic.ACTIVATIONS[config["hidden_act"]](arithmetic.linear(layer, "mlp.fc1", normed))
    return x + arithmetic.linear(layer, "mlp.fc2", hidden)
