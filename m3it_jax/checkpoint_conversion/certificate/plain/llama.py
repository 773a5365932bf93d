"""LLaMA: pre-norm decoder with rotary positions and a gated feed-forward layer.

Source: transformers 5.24.0 models/llama/modeling_llama.py.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from m3it_jax.checkpoint_conversion.certificate.plain import arithmetic
from m3it_jax.checkpoint_conversion.certificate.plain.folder import Tensors


def states(tensors: Tensors, config: Mapping[str, Any], embeds: np.ndarray) -> Iterator[np.ndarray]:
    """Yields [T, D]: the embeddings, then what each layer gives out, then the normed hidden states.

    Args:
      tensors: Those below `model.` (bare) or `language_model.model.`.
      config: Its `text_config`, complete.
      embeds: One row of token and picture embeddings [T, D].
    """
    x, mask = embeds, arithmetic.causal(len(embeds))
    cos, sin = _rotation(config, len(x))
    yield x
    for number in range(config["num_hidden_layers"]):
        layer = tensors.under(f"layers.{number}.")
        normed = arithmetic.rms_norm(layer, "input_layernorm", x, epsilon=config["rms_norm_eps"])
        query = arithmetic.heads(arithmetic.linear(layer, "self_attn.q_proj", normed), config["num_attention_heads"])
        key, value = (
            arithmetic.heads(arithmetic.linear(layer, f"self_attn.{name}_proj", normed), config["num_key_value_heads"])
            for name in "kv"
        )
        query, key = query * cos + _half_turn(query) * sin, key * cos + _half_turn(key) * sin
        attended = arithmetic.attend(query, key, value, added=mask, scale=query.shape[-1] ** -0.5)
        x = x + arithmetic.linear(layer, "self_attn.o_proj", attended)
        normed = arithmetic.rms_norm(layer, "post_attention_layernorm", x, epsilon=config["rms_norm_eps"])
        gate = arithmetic.ACTIVATIONS[config["hidden_act"]](arithmetic.linear(layer, "mlp.gate_proj", normed))
        x = x + arithmetic.linear(layer, "mlp.down_proj", gate * arithmetic.linear(layer, "mlp.up_proj", normed))
        yield x
    yield arithmetic.rms_norm(tensors, "norm", x, epsilon=config["rms_norm_eps"])


def _rotation(config: Mapping[str, Any], length: int) -> tuple[np.ndarray, np.ndarray]:
    """Returns (cosines, sines), each [T, H]: both halves of a head turn by the same angles."""
    width = config["head_dim"]
    frequency = 1.0 / config["rope_theta"] ** (np.arange(0, width, 2) / width)
    angle = np.tile(np.arange(length)[:, None] * frequency, 2)
    return np.cos(angle), np.sin(angle)


def _half_turn(x: np.ndarray) -> np.ndarray:
    first, second = np.split(x, 2, axis=-1)
    return np.concatenate([-second, first], axis=-1)
