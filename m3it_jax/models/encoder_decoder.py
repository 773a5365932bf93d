"""The encoder-decoder language model: T5 1.1, as Flan-T5 has it (arXiv 1910.10683, 2210.11416).

Positions are relative alone: a bias on the attention scores, learned for each bucket of distances and each head, and
shared by all blocks of a stack. Scores are not divided by the root of the head's width.

The cache has the arrays of `generation/kv_cache.py` for what the decoder wrote. From `prefill` on, each layer has also
`cross_k` [B, N, H, S] and `cross_v` [B, N, S, H], the keys and values of what the encoder read, and the cache has
`cross_segment_ids` int32 [B, S].
"""

import dataclasses
import math

import flax.linen as nn
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from m3it_jax.models import decoder, layers, masks
from m3it_jax.models.decoder import KVCache, LayerCache


@dataclasses.dataclass(frozen=True)
class EncoderDecoderConfig:
    """Sizes of the language model; `num_layers` are the decoder's."""

    vocab_size: int
    embed_dim: int
    mlp_dim: int
    num_encoder_layers: int
    num_layers: int
    num_heads: int
    head_dim: int
    relative_buckets: int
    relative_max_distance: int  # tokens; whatever is farther away shares one bucket
    activation: str
    has_tied_head: bool  # the output head is the token embedding, behind hidden states times embed_dim ** -0.5
    rms_norm_epsilon: float
    max_len: int  # tokens of a row that is read, and of one that is written
    start_id: int  # what the decoder begins with

    @property
    def num_kv_heads(self) -> int:
        """Heads of keys and values: as many as of queries."""
        return self.num_heads


def distance_buckets(num_buckets: int, max_distance: int) -> np.ndarray:
    """Returns int32 [max_distance + 1], the bucket of each distance: the first half one each, then logarithmic.

    In float32 and in the order of mesh_tensorflow's transformer_layers.py, since a rounding moves a bucket's border.
    """
    exact = num_buckets // 2
    distances = np.arange(max_distance + 1)
    ratio = np.maximum(distances, 1).astype(np.float32) / np.float32(exact)
    share = np.log(ratio) / np.float32(math.log(max_distance / exact))
    far = exact + (share * np.float32(num_buckets - exact)).astype(np.int32)
    return np.where(distances < exact, distances, np.minimum(far, num_buckets - 1)).astype(np.int32)


class RelativeBias(nn.Module):
    """The learned bias of each head on the distance from a query to a key."""

    config: EncoderDecoderConfig
    looks_ahead: bool  # the encoder: half of the buckets are for keys after the query

    @nn.compact
    def __call__(self, query_positions: Int[Array, "B T"], key_positions: Int[Array, "B S"]) -> Float[Array, "B N T S"]:
        """Returns what is added to the scores, in float32."""
        config = self.config
        num_buckets = config.relative_buckets // 2 if self.looks_ahead else config.relative_buckets
        ahead = key_positions[:, None, :] - query_positions[:, :, None]
        distance = jnp.abs(ahead) if self.looks_ahead else jnp.maximum(-ahead, 0)
        table = jnp.asarray(distance_buckets(num_buckets, config.relative_max_distance))
        buckets = table[jnp.minimum(distance, config.relative_max_distance)]
        if self.looks_ahead:
            buckets = buckets + jnp.where(ahead > 0, num_buckets, 0)
        embedding = self.param("embedding", layers.TOKEN_INIT, (config.relative_buckets, config.num_heads))
        return embedding[buckets].transpose(0, 3, 1, 2).astype(jnp.float32)


class RelativeAttention(nn.Module):
    """Attention without biases and without scaling; positions come in as a bias on the scores."""

    config: EncoderDecoderConfig
    dtype: jnp.dtype

    def setup(self) -> None:
        """Names the projections."""
        config = self.config
        heads = (config.num_heads, config.head_dim)
        self.query, self.key, self.value = (layers.Linear(heads, self.dtype, use_bias=False) for _ in range(3))
        # The three as one product, where parameters are merged for making tokens (generation/layered.py).
        self.qkv = layers.Linear((3 * config.num_heads, config.head_dim), self.dtype, use_bias=False)
        self.out = layers.Linear((config.embed_dim,), self.dtype, num_axes=2, use_bias=False)

    def of_tokens(self, x: Float[Array, "B T D"]) -> tuple[Array, Array, Array]:
        """Returns the queries, keys and values [B, T, N, H] of the same tokens."""
        if self.has_variable("params", "qkv"):
            query, key, value = jnp.split(self.qkv(x), 3, axis=2)
            return query, key, value
        return self.query(x), self.key(x), self.value(x)

    def __call__(self, query: Array, key: Array, value: Array, *, mask: Array, bias: Array | None) -> Array:
        """Returns [B, T, D], what queries take from keys and values [B, S, N, H]; mask bool, True = may attend."""
        return self.out(layers.attend(query, key, value, mask=mask, bias=bias, scale=1.0))

    def cached(self, query: Array, key: Array, value: Array, *, mask: Array, bias: Array | None) -> Array:
        """Returns the same for keys [B, N, H, S] and values [B, N, S, H], as they lie in a cache."""
        return self.out(layers.attend_cached(query, key, value, mask=mask, bias=bias, scale=1.0))


class EncoderBlock(nn.Module):
    """Self-attention and gated feed-forward, each behind an RMS norm and beside a residual path."""

    config: EncoderDecoderConfig
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Float[Array, "B S D"], where: tuple[Array, Array]) -> tuple[Float[Array, "B S D"], None]:
        """Returns (x, None), the form that `nn.scan` asks for; `where` is mask [B, 1, 1, S] and bias [B, N, S, S]."""
        mask, bias = where
        config = self.config
        normed = _norm(config, self.dtype, "attn_norm")(x)
        attention = RelativeAttention(config, self.dtype, name="attn")
        x = x + attention(*attention.of_tokens(normed), mask=mask, bias=bias)
        return _feed(config, self.dtype, x), None


class DecoderBlock(nn.Module):
    """Causal self-attention, attention over what was read, gated feed-forward; takes one layer's caches."""

    config: EncoderDecoderConfig
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B T D"],
        cache: LayerCache | None,
        where: tuple[Array | None, Array, Array, Array, Array | None],
    ) -> tuple[Float[Array, "B T D"], LayerCache | None]:
        """Returns (x, this layer's cache with the tokens in it), the form that `nn.scan` asks for.

        Args:
          x: The decoder's tokens.
          cache: This layer's `k`, `v` and, unless `encoded` is given, `cross_k` and `cross_v`; None: whole rows.
          where: encoded [B, S, D], what the encoder made, for a layer that has no cross keys yet (the cache comes out
            with them), or None; mask bool [B, 1, T, S'], bias [B, N, T, S'], cross_mask bool [B, 1, 1, S], slot int32
            [] or None.
        """
        encoded, mask, bias, cross_mask, slot = where
        config = self.config
        normed = _norm(config, self.dtype, "attn_norm")(x)
        attention = RelativeAttention(config, self.dtype, name="attn")
        query, key, value = attention.of_tokens(normed)
        if cache is None:
            x = x + attention(query, key, value, mask=mask, bias=bias)
        else:
            cache = layers.write(cache, key, value, slot=slot)
            x = x + attention.cached(query, cache["k"], cache["v"], mask=mask, bias=bias)
        normed = _norm(config, self.dtype, "cross_attn_norm")(x)
        attention = RelativeAttention(config, self.dtype, name="cross_attn")
        query = attention.query(normed)
        if encoded is None and cache is not None:
            x = x + attention.cached(query, cache["cross_k"], cache["cross_v"], mask=cross_mask, bias=None)
        else:
            key, value = attention.key(encoded), attention.value(encoded)
            x = x + attention(query, key, value, mask=cross_mask, bias=None)
            if cache is not None:
                dtype = cache["k"].dtype
                cross_k, cross_v = key.transpose(0, 2, 3, 1).astype(dtype), value.swapaxes(1, 2).astype(dtype)
                cache = {**cache, "cross_k": cross_k, "cross_v": cross_v}
        return _feed(config, self.dtype, x), cache


def _norm(config: EncoderDecoderConfig, dtype: jnp.dtype, name: str) -> nn.Module:
    return layers.make_norm("rms", config.rms_norm_epsilon, dtype=dtype, name=name)


def _feed(config: EncoderDecoderConfig, dtype: jnp.dtype, x: Array) -> Array:
    """Returns x plus the feed-forward layers of the block that calls this."""
    feed_forward = layers.GatedFeedForward(config.mlp_dim, config.activation, dtype, name="mlp")
    return layers.constrain(x + feed_forward(_norm(config, dtype, "mlp_norm")(x)))


class Encoder(nn.Module):
    """Embeddings of a row in, what the decoder reads out."""

    config: EncoderDecoderConfig
    dtype: jnp.dtype
    remat: bool = False

    @nn.compact
    def __call__(self, embeds: Float[Array, "B S D"], segment_ids: Int[Array, "B S"]) -> Float[Array, "B S D"]:
        """Returns the normed last hidden states; nothing attends to segment 0."""
        config = self.config
        places = jnp.broadcast_to(jnp.arange(embeds.shape[1]), embeds.shape[:2])
        # One row stands for all: they begin at the same place.
        bias = RelativeBias(config, True, name="relative_bias")(places[:1], places[:1])
        block = nn.remat(EncoderBlock) if self.remat else EncoderBlock
        blocks = layers.stacked(block, config.num_encoder_layers, num_inputs=1)(config, self.dtype, name="blocks")
        x, _ = blocks(layers.constrain(embeds), (masks.real_mask(segment_ids), bias))
        return _norm(config, self.dtype, "final_norm")(x)


class EncoderDecoder(nn.Module):
    """Embeddings in, next-token scores out: a row is read by the encoder, the decoder writes.

    `layered` is the form in which tokens are made, as in `decoder.Decoder`; it is the decoder's blocks that it changes.
    """

    config: EncoderDecoderConfig
    dtype: jnp.dtype
    remat: bool = False
    layered: bool = False

    def setup(self) -> None:
        """Names the parts; stacked blocks share one scanned definition."""
        config = self.config
        self.token_embedding = nn.Embed(
            config.vocab_size, config.embed_dim, dtype=self.dtype, embedding_init=layers.TOKEN_INIT
        )
        self.encoder = Encoder(config, self.dtype, self.remat)
        self.relative_bias = RelativeBias(config, False)
        self.blocks = layers.decoder_blocks(DecoderBlock, config, self.dtype, remat=self.remat, layered=self.layered)
        self.final_norm = layers.make_norm("rms", config.rms_norm_epsilon, dtype=self.dtype)
        if not config.has_tied_head:
            self.head = layers.Linear((config.vocab_size,), self.dtype, use_bias=False)

    def embed(self, token_ids: Int[Array, "B T"]) -> Float[Array, "B T D"]:
        """Returns the embeddings of token ids, the same for what is read and for what is written."""
        return self.token_embedding(token_ids)

    def encode(self, embeds: Float[Array, "B S D"], segment_ids: Int[Array, "B S"]) -> Float[Array, "B S D"]:
        """Returns what the encoder makes of rows; segment 0 is padding at a row's end."""
        return self.encoder(embeds, segment_ids)

    def decode(
        self, decoder_ids: Int[Array, "B T"], encoded: Float[Array, "B S D"], segment_ids: Int[Array, "B S"]
    ) -> Float[Array, "B T V"]:
        """Returns float32 scores of the token after each of `decoder_ids`; see `hidden`."""
        return self.logits(self.hidden(decoder_ids, encoded, segment_ids))

    def hidden(
        self, decoder_ids: Int[Array, "B T"], encoded: Float[Array, "B S D"], segment_ids: Int[Array, "B S"]
    ) -> Float[Array, "B T D"]:
        """Returns the decoder's last hidden states (normed) at each of `decoder_ids`, whose first is `start_id`.

        Args:
          decoder_ids: What is written; padding stands at the end, where nothing before it sees it.
          encoded: From `encode`.
          segment_ids: Those that `encode` took.
        """
        places = jnp.broadcast_to(jnp.arange(decoder_ids.shape[1]), decoder_ids.shape)
        ones = jnp.ones_like(places)
        mask = masks.segment_causal_mask(ones, places, key_segments=ones, key_positions=places)
        where = (encoded, mask, self.relative_bias(places[:1], places[:1]), masks.real_mask(segment_ids), None)
        x, _ = layers.through(self.blocks, layers.constrain(self.embed(decoder_ids)), caches=None, where=where)
        return self.final_norm(x)

    def logits(self, hidden: Float[Array, "B T D"]) -> Float[Array, "B T V"]:
        """Returns float32 scores of the next token."""
        hidden = layers.constrain(hidden)
        if self.config.has_tied_head:
            return self.token_embedding.attend(hidden * self.config.embed_dim**-0.5).astype(jnp.float32)
        return self.head(hidden).astype(jnp.float32)

    def prefill(
        self,
        embeds: Float[Array, "B S D"],
        positions: Int[Array, "B S"],
        segment_ids: Int[Array, "B S"],
        *,
        cache: KVCache,
    ) -> tuple[Float[Array, "B 1 D"], KVCache]:
        """Returns (the decoder's hidden state after `start_id`, the cache that holds what the encoder read).

        Args:
          embeds: Rows for the encoder.
          positions: Not read: distances are counted from a row's beginning.
          segment_ids: 1 = token, 0 = padding at a row's end.
          cache: Empty; its slots are for what the decoder writes.
        """
        del positions
        encoded = self.encode(embeds, segment_ids)
        start = jnp.full((embeds.shape[0], 1), self.config.start_id, jnp.int32)
        cache = {**cache, "cross_segment_ids": segment_ids}
        return self._step(self.embed(start), jnp.zeros_like(start), jnp.ones_like(start), cache=cache, encoded=encoded)

    def extend(
        self,
        embeds: Float[Array, "B T D"],
        positions: Int[Array, "B T"],
        segment_ids: Int[Array, "B T"],
        *,
        cache: KVCache,
    ) -> tuple[Float[Array, "B T D"], KVCache]:
        """Returns the hidden states of T new tokens of the decoder and the cache that holds them.

        Slots and padding are those of `Decoder.extend`; the start token stands at position 0.
        """
        return self._step(embeds, positions, segment_ids, cache=cache, encoded=None)

    def _step(
        self, embeds: Array, positions: Array, segment_ids: Array, *, cache: KVCache, encoded: Array | None
    ) -> tuple[Array, KVCache]:
        index = decoder.index_new(cache, positions, segment_ids)
        mask = masks.segment_causal_mask(
            segment_ids, positions, key_segments=index["segment_ids"], key_positions=index["positions"]
        )
        bias = self.relative_bias(positions, index["positions"])
        where = (encoded, mask, bias, masks.real_mask(cache["cross_segment_ids"]), cache["next_slot"])
        x, written = layers.through(self.blocks, layers.constrain(embeds), caches=cache["layers"], where=where)
        return self.final_norm(x), {**cache, **index, "layers": written}
