"""Flan-T5: encoder and decoder with relative position biases; products of queries and keys are not scaled.

Source: transformers 5.24.0 models/t5/modeling_t5.py.
"""

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from m3it_jax.checkpoint_conversion.certificate.plain import arithmetic
from m3it_jax.checkpoint_conversion.certificate.plain.folder import Tensors


def encoder_states(tensors: Tensors, config: Mapping[str, Any], embeds: np.ndarray) -> Iterator[np.ndarray]:
    """Yields [S, D]: the embeddings, then what each layer of the encoder gives out, then its normed output.

    Args:
      tensors: Those below `encoder.`.
      config: The `text_config`, complete.
      embeds: One row of token and picture embeddings [S, D].
    """
    x = embeds
    bias = _position_bias(tensors, config, len(x), is_bidirectional=True)
    yield x
    for number in range(config["num_layers"]):
        block = tensors.under(f"block.{number}.layer.")
        x = _attention(block, config, "0.SelfAttention", x=x, context=None, bias=bias)
        x = _feed_forward(block, config, "1", x=x)
        yield x
    yield arithmetic.rms_norm(tensors, "final_layer_norm", x, epsilon=config["layer_norm_epsilon"])


def decoder_states(
    tensors: Tensors, config: Mapping[str, Any], embeds: np.ndarray, *, encoded: np.ndarray
) -> Iterator[np.ndarray]:
    """Yields [T, D]: the embeddings, then what each layer of the decoder gives out, then its normed output.

    Args:
      tensors: Those below `decoder.`.
      config: The `text_config`, complete.
      embeds: The embeddings of the start id and the answer so far [T, D].
      encoded: The encoder's output [S, D].
    """
    x = embeds
    bias = _position_bias(tensors, config, len(x), is_bidirectional=False) + arithmetic.causal(len(x))
    yield x
    for number in range(config["num_decoder_layers"]):
        block = tensors.under(f"block.{number}.layer.")
        x = _attention(block, config, "0.SelfAttention", x=x, context=None, bias=bias)
        x = _attention(block, config, "1.EncDecAttention", x=x, context=encoded, bias=0.0)
        x = _feed_forward(block, config, "2", x=x)
        yield x
    yield arithmetic.rms_norm(tensors, "final_layer_norm", x, epsilon=config["layer_norm_epsilon"])


def _attention(
    block: Tensors,
    config: Mapping[str, Any],
    name: str,
    *,
    x: np.ndarray,
    context: np.ndarray | None,
    bias: np.ndarray | float,
) -> np.ndarray:
    place = name.split(".", maxsplit=1)[0]
    normed = arithmetic.rms_norm(block, f"{place}.layer_norm", x, epsilon=config["layer_norm_epsilon"])
    read = normed if context is None else context
    sources = {"q": normed, "k": read, "v": read}
    query, key, value = (
        arithmetic.heads(arithmetic.linear(block, f"{name}.{part}", source), config["num_heads"])
        for part, source in sources.items()
    )
    return x + arithmetic.linear(block, f"{name}.o", arithmetic.attend(query, key, value, added=bias, scale=1.0))


def _feed_forward(block: Tensors, config: Mapping[str, Any], place: str, *, x: np.ndarray) -> np.ndarray:
    normed = arithmetic.rms_norm(block, f"{place}.layer_norm", x, epsilon=config["layer_norm_epsilon"])
    layer, activation = block.under(f"{place}.DenseReluDense."), arithmetic.ACTIVATIONS[config["dense_act_fn"]]
    if config["is_gated_act"]:
        hidden = activation(arithmetic.linear(layer, "wi_0", normed)) * arithmetic.linear(layer, "wi_1", normed)
    else:
        hidden = activation(arithmetic.linear(layer, "wi", normed))
    return x + arithmetic.linear(layer, "wo", hidden)


def _position_bias(tensors: Tensors, config: Mapping[str, Any], length: int, *, is_bidirectional: bool) -> np.ndarray:
    """Returns [N, T, T]: what is added to the scores for the distance of key and query; all layers share it."""
    table = tensors("block.0.layer.0.SelfAttention.relative_attention_bias.weight")
    limit = config["relative_attention_max_distance"]
    bucket = np.empty((length, length), int)
    for query in range(length):
        for key in range(length):
            bucket[query, key] = _bucket(key - query, len(table), is_bidirectional=is_bidirectional, limit=limit)
    return table[bucket].transpose(2, 0, 1)


def _bucket(distance: int, num_buckets: int, *, is_bidirectional: bool, limit: int) -> int:
    """Returns the row of a distance (key minus query): exact for near keys, in widening steps for far ones.

    The logarithm is taken in float32, as the reference does: at a border the step would fall elsewhere otherwise.
    """
    first = 0
    if is_bidirectional:
        num_buckets //= 2
        first, distance = (num_buckets if distance > 0 else 0), abs(distance)
    else:
        distance = max(-distance, 0)
    exact = num_buckets // 2
    if distance < exact:
        return first + distance
    share = np.log(np.float32(distance) / np.float32(exact)) / np.float32(math.log(limit / exact))
    return first + min(exact + int(share * np.float32(num_buckets - exact)), num_buckets - 1)
