"""The decoder-only language model of LLaMA's type. A cache of keys and values goes in and comes out."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from m3it_jax.models import layers, masks

KVCache = dict[str, Any]  # see generation/kv_cache.py for its arrays


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
        cache: dict[str, Array] | None,
        slots: Int[Array, "B T"] | None,
    ) -> tuple[Float[Array, "B T D"], dict[str, Array] | None]:
        """Returns the attended values and, with a cache, the new keys and values: what belongs into `slots` of it."""
        config = self.config

        def heads(name: str, num_heads: int) -> Array:
            shape = (num_heads, config.head_dim)
            kernel_init = layers.DENSE_INIT
            return nn.DenseGeneral(shape, use_bias=False, dtype=self.dtype, kernel_init=kernel_init, name=name)(x)

        query = layers.rotate(heads("query", config.num_heads), positions, config.rope_base)
        key = layers.rotate(heads("key", config.num_kv_heads), positions, config.rope_base)
        value = heads("value", config.num_kv_heads)
        written = None
        if cache is not None:
            rows = jnp.arange(x.shape[0])[:, None]
            written = {"k": key.astype(cache["k"].dtype), "v": value.astype(cache["v"].dtype)}
            key = cache["k"].at[rows, slots].set(written["k"], mode="drop").astype(self.dtype)
            value = cache["v"].at[rows, slots].set(written["v"], mode="drop").astype(self.dtype)
        attended = layers.attend(query, key, value, mask=mask)
        out = nn.DenseGeneral(
            config.embed_dim, axis=(-2, -1), use_bias=False, dtype=self.dtype, kernel_init=layers.DENSE_INIT, name="out"
        )(attended)
        return out, written


class GatedFeedForward(nn.Module):
    """SwiGLU: down(silu(gate(x)) * up(x)), without biases."""

    config: DecoderConfig
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        """Returns the transformed tokens."""

        def dense(name: str, width: int, source: Array) -> Array:
            return nn.Dense(width, use_bias=False, dtype=self.dtype, kernel_init=layers.DENSE_INIT, name=name)(source)

        gate = layers.ACTIVATIONS["silu"](dense("gate", self.config.mlp_dim, x))
        return dense("down", self.config.embed_dim, gate * dense("up", self.config.mlp_dim, x))


class DecoderBlock(nn.Module):
    """Attention and gated feed-forward, each behind an RMS norm and beside a residual path."""

    config: DecoderConfig
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self, x: Array, cache: dict[str, Array] | None, where: tuple[Array, Array, Array | None]
    ) -> tuple[Array, dict[str, Array] | None]:
        """Returns (x, this layer's new keys and values), the form that `nn.scan` asks for."""
        positions, mask, slots = where
        epsilon = self.config.rms_norm_epsilon
        normed = nn.RMSNorm(epsilon, dtype=self.dtype, name="attn_norm")(x)
        attended, written = DecoderAttention(self.config, self.dtype, name="attn")(
            normed, positions, mask, cache=cache, slots=slots
        )
        x = x + attended
        normed = nn.RMSNorm(epsilon, dtype=self.dtype, name="mlp_norm")(x)
        x = x + GatedFeedForward(self.config, self.dtype, name="mlp")(normed)
        return layers.constrain(x), written


class Decoder(nn.Module):
    """Embeddings in, next-token scores out."""

    config: DecoderConfig
    dtype: jnp.dtype
    remat: bool = False

    def setup(self) -> None:
        """Names the parts; blocks share one scanned definition with stacked parameters."""
        config = self.config
        self.token_embedding = nn.Embed(
            config.vocab_size, config.embed_dim, dtype=self.dtype, embedding_init=layers.TOKEN_INIT
        )
        block = nn.remat(DecoderBlock) if self.remat else DecoderBlock
        self.blocks = nn.scan(
            block,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=(0, nn.broadcast),
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
        embeds = layers.constrain(embeds)
        mask = masks.segment_causal_mask(segment_ids, positions, key_segments=segment_ids, key_positions=positions)
        x, _ = self.blocks(embeds, None, (positions, mask, None))
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

        Row b's tokens go to the slots `lengths[b] ... lengths[b] + T - 1`. Padding (segment 0) stands at the end of a
        row, is never attended to, and its slots are written over by the next call.
        """
        num_new = embeds.shape[1]
        slots = cache["lengths"][:, None] + jnp.arange(num_new)[None, :]
        rows = jnp.arange(embeds.shape[0])[:, None]
        key_positions = cache["positions"].at[rows, slots].set(positions, mode="drop")
        key_segments = cache["segment_ids"].at[rows, slots].set(segment_ids, mode="drop")
        mask = masks.segment_causal_mask(segment_ids, positions, key_segments=key_segments, key_positions=key_positions)
        # The scan gives out the new keys and values alone: stacking whole caches would copy them at every token.
        x, written = self.blocks(embeds, {"k": cache["k"], "v": cache["v"]}, (positions, mask, slots))
        cache = {
            "k": cache["k"].at[:, rows, slots].set(written["k"], mode="drop"),
            "v": cache["v"].at[:, rows, slots].set(written["v"], mode="drop"),
            "positions": key_positions,
            "segment_ids": key_segments,
            "lengths": cache["lengths"] + (segment_ids > 0).sum(axis=1).astype(jnp.int32),
        }
        return self.final_norm(x), cache
