"""The Q-Former of BLIP-2, and InstructBLIP's, which reads the instruction as well.

Sources: transformers 5.24.0 models/blip_2/modeling_blip_2.py, models/instructblip/modeling_instructblip.py
(Blip2QFormerModel, InstructBlipQFormerModel): a post-norm BERT whose queries and text attend to each other.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from m3it_jax.checkpoint_conversion.certificate.plain import arithmetic
from m3it_jax.checkpoint_conversion.certificate.plain.folder import Tensors


def states(
    tensors: Tensors,
    config: Mapping[str, Any],
    query_tokens: np.ndarray,
    *,
    patches: np.ndarray,
    text_ids: Sequence[int] = (),
) -> Iterator[np.ndarray]:
    """Yields [Q + T, D]: the embedded queries and text, then what each layer gives out; the queries stand first.

    Args:
      tensors: Those below `qformer.`.
      config: Its `qformer_config`, complete.
      query_tokens: [Q, D].
      patches: The tower's output [P, C].
      text_ids: The instruction in the Q-Former's own vocabulary; empty where it reads none.
    """
    x, num_queries = query_tokens, len(query_tokens)
    if text_ids:
        words = tensors.rows("embeddings.word_embeddings.weight", text_ids)
        x = np.concatenate([x, words + tensors.rows("embeddings.position_embeddings.weight", range(len(text_ids)))])
    norm = "embeddings.layernorm" if tensors.has("embeddings.layernorm.weight") else "layernorm"
    x = arithmetic.layer_norm(tensors, norm, x, epsilon=config["layer_norm_eps"])
    yield x
    for number in range(config["num_hidden_layers"]):
        layer = tensors.under(f"encoder.layer.{number}.")
        x = _attention(layer, config, "attention", x=x, context=x)
        queries, text = x[:num_queries], x[num_queries:]
        if number % config["cross_attention_frequency"] == 0:
            queries = _attention(layer, config, "crossattention", x=queries, context=patches)
        x = _feed_forward(layer, config, "_query", x=queries)
        if len(text):
            x = np.concatenate([x, _feed_forward(layer, config, "", x=text)])
        yield x


def _attention(
    layer: Tensors, config: Mapping[str, Any], name: str, *, x: np.ndarray, context: np.ndarray
) -> np.ndarray:
    sources = {"query": x, "key": context, "value": context}
    query, key, value = (
        arithmetic.heads(arithmetic.linear(layer, f"{name}.attention.{part}", source), config["num_attention_heads"])
        for part, source in sources.items()
    )
    attended = arithmetic.attend(query, key, value, added=0.0, scale=query.shape[-1] ** -0.5)
    x = x + arithmetic.linear(layer, f"{name}.output.dense", attended)
    return arithmetic.layer_norm(layer, f"{name}.output.LayerNorm", x, epsilon=config["layer_norm_eps"])


def _feed_forward(layer: Tensors, config: Mapping[str, Any], branch: str, *, x: np.ndarray) -> np.ndarray:
    hidden = arithmetic.linear(layer, f"intermediate{branch}.dense", x)
    x = x + arithmetic.linear(layer, f"output{branch}.dense", arithmetic.ACTIVATIONS[config["hidden_act"]](hidden))
    return arithmetic.layer_norm(layer, f"output{branch}.LayerNorm", x, epsilon=config["layer_norm_eps"])
