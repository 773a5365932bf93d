"""The decoder-only language model, LLaMA or OPT by its values. A cache of keys and values goes in and comes out."""

import dataclasses
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from m3it_jax.models import layers, masks, slots

KVCache = dict[str, Any]  # see generation/kv_cache.py for its arrays
LayerCache = dict[str, Any]  # one layer's part of it


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
        mask: Array | None,
        *,
        cache: LayerCache | None,
        slot: Int[Array, ""] | slots.Place | None,
    ) -> tuple[Float[Array, "B T D"], LayerCache | None]:
        """Returns the attended values and, with a cache, the cache that holds the tokens from `slot` on.

        Without a slot the cache is empty: it is filled from its beginning, and the tokens attend among themselves. With
        a place the cache has levels of slots, each token's slot is its position, and there is no mask.
        """
        config = self.config

        def heads(name: str, num_heads: int) -> Array:
            shape = (num_heads, config.head_dim)
            return layers.Linear(shape, self.dtype, use_bias=config.has_biases, name=name)(x)

        if self.has_variable("params", "qkv"):  # merged for making tokens: generation/layered.py
            ends = (config.num_heads, config.num_heads + config.num_kv_heads)
            query, key, value = jnp.split(heads("qkv", ends[1] + config.num_kv_heads), ends, axis=2)
        else:
            query = heads("query", config.num_heads)
            key, value = (heads(name, config.num_kv_heads) for name in ("key", "value"))
        if config.positions == "rotary":
            query, key = (layers.rotate(heads, positions, config.rope_base) for heads in (query, key))
        if cache is None:
            attended = layers.attend(query, key, value, mask=mask)
        elif isinstance(slot, slots.Place):
            cache = slots.write(cache, key, value, positions=positions, place=slot)
            attended = slots.attend(query, cache, positions=positions, place=slot)
        else:
            cache = layers.write(cache, key, value, slot=jnp.int32(0) if slot is None else slot)
            if slot is None:
                attended = layers.attend(query, key, value, mask=mask)
            else:
                attended = layers.attend_cached(query, cache["k"], cache["v"], mask=mask)
        out = layers.Linear((config.embed_dim,), self.dtype, num_axes=2, use_bias=config.has_biases, name="out")
        return out(attended), cache


class DecoderBlock(nn.Module):
    """Attention and feed-forward, each behind a norm and beside a residual path.

    It takes one layer's parameters and caches, so the stack may be a scan or a plain loop.
    """

    config: DecoderConfig
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self, x: Array, cache: LayerCache | None, where: tuple[Array, Array | None, Array | slots.Place | None]
    ) -> tuple[Array, LayerCache | None]:
        """Returns (x, this layer's cache with the tokens in it), the form that `nn.scan` asks for.

        Args:
          x: [B, T, D].
          cache: This layer's `k` [B, K, H, S] and `v` [B, K, S, H], or None.
          where: positions int32 [B, T]; mask bool [B, 1, T, S], True = may attend; slot int32 [] of the cache, the
            first of T, or None: the cache is empty, and the mask is over the tokens themselves; or a `slots.Place`,
            whose cache has levels, without a mask.
        """
        positions, mask, slot = where
        config = self.config

        def norm(name: str) -> nn.Module:
            return layers.make_norm(config.norm, config.norm_epsilon, dtype=self.dtype, name=name)

        attention = DecoderAttention(config, self.dtype, name="attn")
        attended, cache = attention(norm("attn_norm")(x), positions, mask, cache=cache, slot=slot)
        x = x + attended
        feed_forward = layers.FEED_FORWARDS[config.mlp](config.mlp_dim, config.activation, self.dtype, name="mlp")
        x = x + feed_forward(norm("mlp_norm")(x))
        return layers.constrain(x), cache


class Decoder(nn.Module):
    """Embeddings in, next-token scores out.

    Attributes:
      config: Sizes and kinds.
      dtype: Of the activations.
      remat: The backward pass computes each block anew instead of keeping what was in it.
      layered: Each block has parameters of its own (`blocks_0`, ...) instead of a slice of stacked ones (`blocks`): the
        form in which tokens are made (ADR 0016). Only a layered decoder takes a cache.
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
        if config.positions == "learned":
            shape = (config.position_offset + config.max_len, config.embed_dim)
            self.position_embedding = self.param("position_embedding", layers.TOKEN_INIT, shape)
        self.blocks = layers.decoder_blocks(DecoderBlock, config, self.dtype, remat=self.remat, layered=self.layered)
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
        self,
        embeds: Float[Array, "B T D"],
        positions: Int[Array, "B T"],
        segment_ids: Int[Array, "B T"],
        *,
        parent_ids: Int[Array, "B T"] | None = None,
    ) -> Float[Array, "B T D"]:
        """Returns the last hidden states (normed) of whole rows, without a cache; see `masks.segment_causal_mask`."""
        mask = masks.segment_causal_mask(
            segment_ids, positions, key_segments=segment_ids, key_positions=positions, query_parents=parent_ids
        )
        x, _ = layers.through(self.blocks, self.place(embeds, positions), caches=None, where=(positions, mask, None))
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
        """Returns (the hidden state of each row's last token, the cache that holds the rows); the cache is empty."""
        mask = masks.segment_causal_mask(segment_ids, positions, key_segments=segment_ids, key_positions=positions)
        hidden, cache = self._through(embeds, positions, segment_ids, cache=cache, mask=mask, slot=None)
        return last_tokens(hidden, segment_ids), cache

    def extend(
        self,
        embeds: Float[Array, "B T D"],
        positions: Int[Array, "B T"],
        segment_ids: Int[Array, "B T"],
        *,
        cache: KVCache,
    ) -> tuple[Float[Array, "B T D"], KVCache]:
        """Returns the hidden states of T new tokens and the cache that holds them.

        The tokens of all rows go to the slots from `next_slot` on. Padding (segment 0) stands at the end of a row and
        is never attended to; slots that hold padding in every row are written over by the next call.
        """
        index = index_new(cache, positions, segment_ids)
        mask = masks.segment_causal_mask(
            segment_ids, positions, key_segments=index["segment_ids"], key_positions=index["positions"]
        )
        return self._through(embeds, positions, segment_ids, cache=cache, mask=mask, slot=cache["next_slot"])

    def extend_slots(
        self,
        embeds: Float[Array, "B T D"],
        positions: Int[Array, "B T"],
        *,
        caches: list[slots.LevelCache],
        place: slots.Place,
    ) -> tuple[Float[Array, "B T D"], list[slots.LevelCache]]:
        """Returns the hidden states of new tokens and the caches of the layers that hold them (see `models/slots.py`).

        The tokens are one of each row, or an aligned block of one row, as `place` says.
        """
        where = (positions, None, place)
        x, written = layers.through(self.blocks, self.place(embeds, positions), caches=caches, where=where)
        return self.final_norm(x), written

    def _through(
        self, embeds: Array, positions: Array, segment_ids: Array, *, cache: KVCache, mask: Array, slot: Array | None
    ) -> tuple[Array, KVCache]:
        where = (positions, mask, slot)
        x, written = layers.through(self.blocks, self.place(embeds, positions), caches=cache["layers"], where=where)
        return self.final_norm(x), {**cache, **index_new(cache, positions, segment_ids), "layers": written}


def last_tokens(hidden: Float[Array, "B T D"], segment_ids: Int[Array, "B T"]) -> Float[Array, "B 1 D"]:
    """Returns the hidden state of each row's last token, of its first place where it has none."""
    last = jnp.maximum((segment_ids > 0).sum(axis=1) - 1, 0)
    return jnp.take_along_axis(hidden, last[:, None, None], axis=1)


def index_new(cache: KVCache, positions: Int[Array, "B T"], segment_ids: Int[Array, "B T"]) -> dict[str, Array]:
    """Returns what the cache says about its slots with T new tokens from `next_slot` on."""
    slot = cache["next_slot"]
    num_new = (segment_ids > 0).sum(axis=1).astype(jnp.int32)
    return {
        "positions": jax.lax.dynamic_update_slice_in_dim(cache["positions"], positions, slot, axis=1),
        "segment_ids": jax.lax.dynamic_update_slice_in_dim(cache["segment_ids"], segment_ids, slot, axis=1),
        "lengths": cache["lengths"] + num_new,
        "next_slot": slot + num_new.max(),
    }
