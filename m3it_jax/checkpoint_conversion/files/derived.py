"""Tensors that stand in no file as such: deltas over a base, LLaMA's original shards, biases that LAVIS keeps apart."""

import re
from collections.abc import Mapping, Sequence

import numpy as np

from m3it_jax import errors
from m3it_jax.checkpoint_conversion.files import sources
from m3it_jax.checkpoint_conversion.files.sources import Made, Source, Summed
from m3it_jax.checkpoint_conversion.names import mapping

# How the embedding and the head of a published difference are meant.
EMBEDDINGS = ("replaced", "added")
_EMBEDDINGS = r".*(embed_tokens|lm_head)\.weight"
_BUFFERS = r".*\.rotary_emb\.inv_freq"

# LLaMA's original names -> (Hugging Face's, the axis along which the shards cut it; None: each has the whole), after
# transformers/models/llama/convert_llama_weights_to_hf.py.
_LLAMA: tuple[tuple[str, str, int | None], ...] = (
    (r"tok_embeddings\.weight", "model.embed_tokens.weight", 1),
    (r"output\.weight", "lm_head.weight", 0),
    (r"norm\.weight", "model.norm.weight", None),
    (r"layers\.(\d+)\.attention\.w(q|k|v)\.weight", r"model.layers.\1.self_attn.\2_proj.weight", 0),
    (r"layers\.(\d+)\.attention\.wo\.weight", r"model.layers.\1.self_attn.o_proj.weight", 1),
    (r"layers\.(\d+)\.feed_forward\.w1\.weight", r"model.layers.\1.mlp.gate_proj.weight", 0),
    (r"layers\.(\d+)\.feed_forward\.w2\.weight", r"model.layers.\1.mlp.down_proj.weight", 1),
    (r"layers\.(\d+)\.feed_forward\.w3\.weight", r"model.layers.\1.mlp.up_proj.weight", 0),
    (r"layers\.(\d+)\.attention_norm\.weight", r"model.layers.\1.input_layernorm.weight", None),
    (r"layers\.(\d+)\.ffn_norm\.weight", r"model.layers.\1.post_attention_layernorm.weight", None),
)
_ROTATED = re.compile(r".*\.attention\.w[qk]\.weight")
_FREQUENCIES = "rope.freqs"
_HEAD_DIM = 128  # of every LLaMA (arXiv 2302.13971, table 2), for files without rope.freqs


def summed(delta: Mapping[str, Source], base: Mapping[str, Source], *, embeddings: str) -> dict[str, Source]:
    """Returns the tensors of a difference added to those of its base; names are canonical in both.

    Args:
      delta: What is published.
      base: What it was made from.
      embeddings: `replaced`: the delta's embedding and head are the finished ones (Ziya: IDEA-CCNL/Fengshenbang-LM
        fengshen/utils/apply_delta.py). `added`: they are differences too, and rows that the base lacks are finished
        (Vicuna: lm-sys/FastChat fastchat/model/apply_delta.py; LLaVA: llava/model/apply_delta.py).

    Raises:
      UserError: a tensor has no base, or one of another shape.
    """
    made: dict[str, Source] = {}
    for key, tensor in delta.items():
        is_embedding = re.fullmatch(_EMBEDDINGS, key) is not None
        if re.fullmatch(_BUFFERS, key) or (is_embedding and embeddings == "replaced"):
            made[key] = tensor
            continue
        if key not in base:
            raise errors.UserError(
                f"{tensor.origin}: {mapping.short(key)} has no counterpart in the base; take the base that the delta "
                "was made from"
            )
        theirs = base[key].shape
        grown = is_embedding and theirs[1:] == tensor.shape[1:] and theirs[0] <= tensor.shape[0]
        if theirs != tensor.shape and not grown:
            raise errors.UserError(
                f"{base[key].origin}: {mapping.short(key)} has shape {theirs}, the delta has {tensor.shape}; take the "
                "base that the delta was made from"
            )
        made[key] = Summed(tensor, base[key])
    return made


def from_llama_shards(shards: Sequence[Mapping[str, Source]]) -> dict[str, Source]:
    """Returns the tensors of `consolidated.NN.pth` files under Hugging Face's names: shards joined, rows reordered.

    LLaMA's own code rotates neighbouring pairs of a head's dimensions, Hugging Face's the two halves; the rows of the
    query and key projections are put in the other order.

    Raises:
      UserError: the shards hold different tensors, or others than LLaMA's.
    """
    first = shards[0]
    made: dict[str, Source] = {}
    for key, tensor in first.items():
        if key == _FREQUENCIES:
            continue
        for pattern, replacement, axis in _LLAMA:
            match = re.fullmatch(pattern, key)
            if match:
                pieces = [_of_shard(shard, key, tensor) for shard in (shards if axis is not None else shards[:1])]
                head_dim = 2 * first[_FREQUENCIES].shape[0] if _FREQUENCIES in first else _HEAD_DIM
                made[match.expand(replacement)] = _joined(
                    pieces, axis or 0, head_dim=head_dim if _ROTATED.fullmatch(key) else None
                )
                break
        else:
            raise errors.UserError(f"{tensor.origin}: holds {mapping.short(key)}, which is no tensor of LLaMA")
    return made


def _of_shard(shard: Mapping[str, Source], key: str, like: Source) -> Source:
    if key not in shard or len(shard[key].shape) != len(like.shape) or shard[key].dtype != like.dtype:
        where = next(iter(shard.values())).origin
        raise errors.UserError(f"{where}: has no {mapping.short(key)} like that of {like.origin}; fetch all shards")
    return shard[key]


def _joined(pieces: Sequence[Source], axis: int, *, head_dim: int | None) -> Made:
    """Returns the pieces joined along an axis; with `head_dim`, each head's pairs of rows taken apart into halves."""
    shape = list(pieces[0].shape)
    shape[axis] = sum(piece.shape[axis] for piece in pieces)

    def make() -> np.ndarray:
        whole = np.concatenate([sources.whole(piece) for piece in pieces], axis)
        if head_dim is None:
            return whole
        rows, width = whole.shape
        return whole.reshape(rows // head_dim, head_dim // 2, 2, width).swapaxes(1, 2).reshape(rows, width)

    return Made(pieces[0].dtype, tuple(shape), pieces[0].origin, make)


def with_fused_biases(tensors: Mapping[str, Source]) -> dict[str, Source]:
    """Returns tensors with `qkv.bias` in place of `q_bias` and `v_bias`: EVA's keys have no bias, so zeros stand there.

    Source: transformers/models/blip_2/convert_blip_2_original_to_pytorch.py.
    """
    made = dict(tensors)
    for key in tensors:
        other = key.removesuffix("q_bias") + "v_bias"
        if key.endswith(".q_bias") and other in tensors:
            query, value = made.pop(key), made.pop(other)
            shape = (3 * query.shape[0],)
            made[key.removesuffix("q_bias") + "qkv.bias"] = Made(query.dtype, shape, query.origin, _fused(query, value))
    return made


def _fused(query: Source, value: Source) -> sources.Maker:
    def make() -> np.ndarray:
        first, last = sources.whole(query), sources.whole(value)
        return np.concatenate([first, np.zeros_like(first), last])

    return make
