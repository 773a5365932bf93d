"""The decoder-only language model, LLaMA or OPT by its values. A cache of keys and values goes in and comes out."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from m3it_jax.models import layers, masks

KVCache = dict[str, Any]  # see generation/kv_cache.py for its arrays


@dataclasses.dataclass(frozen=True)
class DecoderConfig:
    """Sizes and kinds of the language model."""

    vocab_size: int
    embed_dim: int
    mlp_dim: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    max_len: int  # positions the model was made for
    norm: str  # "rms" or "layer"
    norm_epsilon: float
    positions: str  # "rotary", or "learned": a table whose rows are added to the embeddings
    rope_base: float  # of rotary positions
    position_offset: int  # row of the learned table that belongs to position 0
    has_biases: bool  # in attention; a plain `mlp` has them anyway, a gated one never
    mlp: str  # "gated" or "plain"
    activation: str
    has_tied_head: bool  # the output head is the token embedding


class DecoderAttention(nn.Module):
    """Causal attention; with a cache, over the cache's keys as well."""

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
            return layers.Linear(shape, self.dtype, use_bias=config.has_biases, name=name)(x)

        query, key = heads("query", config.num_heads), heads("key", config.num_kv_heads)
        value = heads("value", config.num_kv_heads)
        if config.positions == "rotary":
            query, key = (layers.rotate(heads, positions, config.rope_base) for heads in (query, key))
        written = None
        if cache is not None:
            key, value, written = update_cache(cache, key, value, slots=slots)
        attended = layers.attend(query, key, value, mask=mask)
        out = layers.Linear((config.embed_dim,), self.dtype, num_axes=2, use_bias=config.has_biases, name="out")
        return out(attended), written


def update_cache(
    cache: dict[str, Array], key: Array, value: Array, *, slots: Int[Array, "B T"]
) -> tuple[Array, Array, dict[str, Array]]:
    """Returns (all keys, all values, the new ones as the cache keeps them) of one layer."""
    rows = jnp.arange(slots.shape[0])[:, None]
    written = {"k": key.astype(cache["k"].dtype), "v": value.astype(cache["v"].dtype)}
    keys = cache["k"].at[rows, slots].set(written["k"], mode="drop").astype(key.dtype)
    values = cache["v"].at[rows, slots].set(written["v"], mode="drop").astype(value.dtype)
    return keys, values, written


class DecoderBlock(nn.Module):
    """Attention and feed-forward, each behind a norm and beside a residual path.

    It takes one layer's parameters and caches, so the stack may be a scan or a plain loop.
    """

    config: DecoderConfig
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self, x: Array, cache: dict[str, Array] | None, where: tuple[Array, Array, Array | None]
    ) -> tuple[Array, dict[str, Array] | None]:
        """Returns (x, this layer's new keys and values), the form that `nn.scan` asks for.

        Args:
          x: [B, T, D].
          cache: This layer's `k` and `v` [B, S, K, H], or None.
          where: positions int32 [B, T]; mask bool [B, 1, T, S], True = may attend; slots int32 [B, T] of the cache.
        """
        positions, mask, slots = where
        config = self.config

        def norm(name: str) -> nn.Module:
            return layers.make_norm(config.norm, config.norm_epsilon, dtype=self.dtype, name=name)

        attention = DecoderAttention(config, self.dtype, name="attn")
        attended, written = attention(norm("attn_norm")(x), positions, mask, cache=cache, slots=slots)
        x = x + attended
        feed_forward = layers.FEED_FORWARDS[config.mlp](config.mlp_dim, config.activation, self.dtype, name="mlp")
        x = x + feed_forward(norm("mlp_norm")(x))
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
        if config.positions == "learned":
            shape = (config.position_offset + config.max_len, config.embed_dim)
            self.position_embedding = self.param("position_embedding", layers.TOKEN_INIT, shape)
        block = nn.remat(DecoderBlock) if self.remat else DecoderBlock
        self.blocks = nn.scan(
            block,
            variable_axes={"params": 0},
            split_rngs={"params": True},
            in_axes=(0, nn.broadcast),
            length=config.num_layers,
        )(config, self.dtype)
        self.final_norm = layers.make_norm(config.norm, config.norm_epsilon, dtype=self.dtype)
        if not config.has_tied_head:
            self.head = layers.Linear((config.vocab_size,), self.dtype, use_bias=False)

    def embed(self, token_ids: Int[Array, "B T"]) -> Float[Array, "B T D"]:
        """Returns the embeddings of token ids, without positions."""
        return self.token_embedding(token_ids)

    def place(self, embeds: Float[Array, "B T D"], positions: Int[Array, "B T"]) -> Float[Array, "B T D"]:
        """Returns what goes into the first block: the embeddings, with learned positions where the model has them."""
        if self.config.positions == "learned":
            embeds = embeds + self.position_embedding[positions + self.config.position_offset].astype(self.dtype)
        return layers.constrain(embeds)

    def hidden(
        self, embeds: Float[Array, "B T D"], positions: Int[Array, "B T"], segment_ids: Int[Array, "B T"]
    ) -> Float[Array, "B T D"]:
        """Returns the last hidden states (normed) of whole rows, without a cache."""
        mask = masks.segment_causal_mask(segment_ids, positions, key_segments=segment_ids, key_positions=positions)
        x, _ = self.blocks(self.place(embeds, positions), None, (positions, mask, None))
        return self.final_norm(x)

    def logits(self, hidden: Float[Array, "B T D"]) -> Float[Array, "B T V"]:
        """Returns float32 scores of the next token."""
        hidden = layers.constrain(hidden)
        logits = self.token_embedding.attend(hidden) if self.config.has_tied_head else self.head(hidden)
        return logits.astype(jnp.float32)

    def prefill(
        self,
        embeds: Float[Array, "B T D"],
        positions: Int[Array, "B T"],
        segment_ids: Int[Array, "B T"],
        *,
        cache: KVCache,
    ) -> tuple[Float[Array, "B 1 D"], KVCache]:
        """Returns (the hidden state of each row's last token, the cache that holds the rows)."""
        hidden, cache = self.extend(embeds, positions, segment_ids, cache=cache)
        last = jnp.maximum((segment_ids > 0).sum(axis=1) - 1, 0)
        return jnp.take_along_axis(hidden, last[:, None, None], axis=1), cache

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
        index, slots = index_new(cache, positions, segment_ids)
        mask = masks.segment_causal_mask(
            segment_ids, positions, key_segments=index["segment_ids"], key_positions=index["positions"]
        )
        # The scan gives out the new keys and values alone: stacking whole caches would copy them at every token.
        x = self.place(embeds, positions)
        x, written = self.blocks(x, {"k": cache["k"], "v": cache["v"]}, (positions, mask, slots))
        return self.final_norm(x), {**cache, **index, **write_stacked(cache, written, slots=slots)}


def index_new(
    cache: KVCache, positions: Int[Array, "B T"], segment_ids: Int[Array, "B T"]
) -> tuple[dict[str, Array], Int[Array, "B T"]]:
    """Returns (`positions`, `segment_ids` and `lengths` of the cache with T new tokens in it, the tokens' slots)."""
    slots = cache["lengths"][:, None] + jnp.arange(positions.shape[1])[None, :]
    rows = jnp.arange(positions.shape[0])[:, None]
    index = {
        "positions": cache["positions"].at[rows, slots].set(positions, mode="drop"),
        "segment_ids": cache["segment_ids"].at[rows, slots].set(segment_ids, mode="drop"),
        "lengths": cache["lengths"] + (segment_ids > 0).sum(axis=1).astype(jnp.int32),
    }
    return index, slots


def write_stacked(cache: KVCache, written: dict[str, Array], *, slots: Int[Array, "B T"]) -> dict[str, Array]:
    """Returns `k` and `v` [L, B, S, K, H] of the cache with the new ones [L, B, T, K, H] in their slots."""
    rows = jnp.arange(slots.shape[0])[:, None]
    return {name: cache[name].at[:, rows, slots].set(written[name], mode="drop") for name in ("k", "v")}
