"""The decoder-only language model of LLaMA's type. A cache of keys and values goes in and comes out."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from m3it_jax.models import layers, masks

KVCache = dict[str, Any]  # see generation/kv_cache.py for its arrays
LayerCache = dict[str, Array]  # one layer's part of it


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
    """Sizes of the language model."""

    vocab_size: int
    embed_dim: int
    mlp_dim: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    max_len: int  # positions the model was made for
    rope_base: float
    rms_norm_epsilon: float


class DecoderAttention(nn.Module):
    """Causal attention with rotary positions; with a cache, over the cache's keys as well."""

    config: DecoderConfig
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B T D"],
        positions: Int[Array, "B T"],
        mask: Array,
        *,
        cache: LayerCache | None,
        slot: Int[Array, ""] | None,
    ) -> tuple[Float[Array, "B T D"], LayerCache | None]:
        """Returns the attended values and, with a cache, the cache whose slots from `slot` on hold the new tokens."""
        config = self.config

        def heads(name: str, num_heads: int) -> Array:
            shape = (num_heads, config.head_dim)
            kernel_init = layers.DENSE_INIT
            return nn.DenseGeneral(shape, use_bias=False, dtype=self.dtype, kernel_init=kernel_init, name=name)(x)

        if self.has_variable("params", "qkv"):  # merged for decoding: generation/layered.py
            places = (config.num_heads, config.num_heads + config.num_kv_heads)
            merged = heads("qkv", places[1] + config.num_kv_heads)
            query, key, value = jnp.split(merged, places, axis=2)
        else:
            query = heads("query", config.num_heads)
            key, value = (heads(name, config.num_kv_heads) for name in ("key", "value"))
        query = layers.rotate(query, positions, config.rope_base)
        key = layers.rotate(key, positions, config.rope_base)
        if cache is None:
            attended = layers.attend(query, key, value, mask=mask)
        else:
            cache = layers.write(cache, {"k": key, "v": value}, slot)
            attended = layers.attend_cached(query, cache["k"], cache["v"], mask=mask)
        out = nn.DenseGeneral(
            config.embed_dim, axis=(-2, -1), use_bias=False, dtype=self.dtype, kernel_init=layers.DENSE_INIT, name="out"
        )(attended)
        return out, cache


class GatedFeedForward(nn.Module):
    """SwiGLU: down(silu(gate(x)) * up(x)), without biases."""

    config: DecoderConfig
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        """Returns the transformed tokens."""

        def dense(name: str, width: int, source: Array) -> Array:
            return nn.Dense(width, use_bias=False, dtype=self.dtype, kernel_init=layers.DENSE_INIT, name=name)(source)

        if self.has_variable("params", "gate_up"):  # merged for decoding: generation/layered.py
            gate, up = jnp.split(dense("gate_up", 2 * self.config.mlp_dim, x), 2, axis=-1)
        else:
            gate, up = (dense(name, self.config.mlp_dim, x) for name in ("gate", "up"))
        return dense("down", self.config.embed_dim, layers.ACTIVATIONS["silu"](gate) * up)


class DecoderBlock(nn.Module):
    """Attention and gated feed-forward, each behind an RMS norm and beside a residual path."""

    config: DecoderConfig
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self, x: Array, cache: LayerCache | None, where: tuple[Array, Array, Array | None]
    ) -> tuple[Array, LayerCache | None]:
        """Returns (x, this layer's cache with the new tokens), the form that `nn.scan` asks for."""
        positions, mask, slot = where
        epsilon = self.config.rms_norm_epsilon
        normed = nn.RMSNorm(epsilon, dtype=self.dtype, name="attn_norm")(x)
        attended, cache = DecoderAttention(self.config, self.dtype, name="attn")(
            normed, positions, mask, cache=cache, slot=slot
        )
        x = x + attended
        normed = nn.RMSNorm(epsilon, dtype=self.dtype, name="mlp_norm")(x)
        x = x + GatedFeedForward(self.config, self.dtype, name="mlp")(normed)
        return layers.constrain(x), cache


class Decoder(nn.Module):
    """Embeddings in, next-token scores out.

    Attributes:
      config: Sizes.
      dtype: Of the activations.
      remat: The backward pass computes each block anew instead of keeping its activations.
      layered: Every block has parameters of its own (`blocks_0`, ...) instead of a slice of stacked ones (`blocks`).
        Decoding wants that (ADR 0016), and only a layered decoder takes a cache.
    """

    config: DecoderConfig
    dtype: jnp.dtype
    remat: bool = False
    layered: bool = False

    def setup(self) -> None:
        """Names the parts; stacked blocks share one scanned definition."""
        config = self.config
        self.token_embedding = nn.Embed(
            config.vocab_size, config.embed_dim, dtype=self.dtype, embedding_init=layers.TOKEN_INIT
        )
        block = nn.remat(DecoderBlock) if self.remat else DecoderBlock
        if self.layered:
            self.blocks = [block(config, self.dtype) for _ in range(config.num_layers)]
        else:
            self.blocks = nn.scan(
                block,
                variable_axes={"params": 0},
                split_rngs={"params": True},
                in_axes=(nn.broadcast, nn.broadcast),
                length=config.num_layers,
            )(config, self.dtype)
        self.final_norm = nn.RMSNorm(config.rms_norm_epsilon, dtype=self.dtype)
        self.head = nn.Dense(config.vocab_size, use_bias=False, dtype=self.dtype, kernel_init=layers.DENSE_INIT)

    def embed(self, token_ids: Int[Array, "B T"]) -> Float[Array, "B T D"]:
        """Returns the embeddings of token ids."""
        return self.token_embedding(token_ids)

    def hidden(
        self, embeds: Float[Array, "B T D"], positions: Int[Array, "B T"], segment_ids: Int[Array, "B T"]
    ) -> Float[Array, "B T D"]:
        """Returns the last hidden states (normed) of whole rows, without a cache."""
        x = layers.constrain(embeds)
        mask = masks.segment_causal_mask(segment_ids, positions, key_segments=segment_ids, key_positions=positions)
        for block in self.blocks if self.layered else (self.blocks,):
            x, _ = block(x, None, (positions, mask, None))
        return self.final_norm(x)

    def logits(self, hidden: Float[Array, "B T D"]) -> Float[Array, "B T V"]:
        """Returns float32 scores of the next token."""
        hidden = layers.constrain(hidden)
        return self.head(hidden).astype(jnp.float32)

    def extend(
        self,
        embeds: Float[Array, "B T D"],
        positions: Int[Array, "B T"],
        segment_ids: Int[Array, "B T"],
        *,
        cache: KVCache,
    ) -> tuple[Float[Array, "B T D"], KVCache]:
        """Returns the hidden states of T new tokens and the cache that holds them.

        The tokens of all rows go to the slots from `next_slot` on. Padding (segment 0) stands at the end of a row and is
        never attended to; slots that hold padding in every row are written over by the next call.
        """
        slot = cache["next_slot"]
        key_positions, key_segments = (
            jax.lax.dynamic_update_slice_in_dim(cache[name], new, slot, axis=1)
            for name, new in (("positions", positions), ("segment_ids", segment_ids))
        )
        mask = masks.segment_causal_mask(segment_ids, positions, key_segments=key_segments, key_positions=key_positions)
        x, written = layers.constrain(embeds), []
        for block, layer_cache in zip(self.blocks, cache["layers"], strict=True):
            x, layer_cache = block(x, layer_cache, (positions, mask, slot))
            written.append(layer_cache)
        num_new = (segment_ids > 0).sum(axis=1).astype(jnp.int32)
        cache = {
            "layers": written,
            "positions": key_positions,
            "segment_ids": key_segments,
            "lengths": cache["lengths"] + num_new,
            "next_slot": slot + num_new.max(),
        }
        return self.final_norm(x), cache
