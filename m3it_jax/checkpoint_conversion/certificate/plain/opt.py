"""OPT: pre-norm decoder with learned positions, biases and a plain feed-forward layer.

Source: transformers 5.24.0 models/opt/modeling_opt.py.
"""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from m3it_jax.checkpoint_conversion.certificate.plain import arithmetic
from m3it_jax.checkpoint_conversion.certificate.plain.folder import Tensors

# The table of positions begins two rows early (OPTLearnedPositionalEmbedding).
_POSITION_OFFSET = 2
_EPSILON = 1e-5  # torch.nn.LayerNorm's default, which OPT keeps


def states(tensors: Tensors, config: Mapping[str, Any], embeds: np.ndarray) -> Iterator[np.ndarray]:
    """Yields [T, D]: the embeddings with positions, then what each layer gives out, then the normed hidden states.

    Args:
      tensors: Those below `model.decoder.` (bare) or `language_model.model.decoder.`.
      config: Its `text_config`, complete.
      embeds: One row of token and picture embeddings [T, D].
    """
    length = len(embeds)
    places = range(_POSITION_OFFSET, _POSITION_OFFSET + length)
    x, mask = embeds + tensors.rows("embed_positions.weight", places), arithmetic.causal(length)
    yield x
    for number in range(config["num_hidden_layers"]):
        layer = tensors.under(f"layers.{number}.")
        normed = arithmetic.layer_norm(layer, "self_attn_layer_norm", x, epsilon=_EPSILON)
        query, key, value = (
            arithmetic.heads(arithmetic.linear(layer, f"self_attn.{name}_proj", normed), config["num_attention_heads"])
            for name in "qkv"
        )
        attended = arithmetic.attend(query, key, value, added=mask, scale=query.shape[-1] ** -0.5)
        x = x + arithmetic.linear(layer, "self_attn.out_proj", attended)
        normed = arithmetic.layer_norm(layer, "final_layer_norm", x, epsilon=_EPSILON)
        hidden = arithmetic.ACTIVATIONS[config["activation_function"]](arithmetic.linear(layer, "fc1", normed))
        x = x + arithmetic.linear(layer, "fc2", hidden)
        yield x
    yield arithmetic.layer_norm(tensors, "final_layer_norm", x, epsilon=_EPSILON)
