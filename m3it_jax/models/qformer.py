"""The Q-Former: learned queries that read a picture's tokens through cross-attention (BLIP-2, arXiv 2301.12597).

With text input (InstructBLIP, arXiv 2305.06500) the queries and the instruction's tokens share each self-attention. The
queries alone read the picture; each side has its own feed-forward layers, and only the queries come out.
"""

import dataclasses

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from m3it_jax.models import layers


@dataclasses.dataclass(frozen=True)
class QFormerConfig:
    """Sizes of the Q-Former. The first of every `cross_attention_every` layers also reads the picture."""

    num_queries: int
    embed_dim: int
    mlp_dim: int
    num_layers: int
    num_heads: int
    cross_attention_every: int
    activation: str
    layer_norm_epsilon: float
    dropout_rate: float
    text_vocab_size: int  # 0: no text input
    text_max_len: int


class QFormerBlock(nn.Module):
    """Self-attention, cross-attention if it is a reading layer, feed-forward: norms after the residual, as in BERT."""

    config: QFormerConfig
    reads_picture: bool
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self, x: Float[Array, "I R D"], patches: Float[Array, "I P C"], *, mask: Array | None, deterministic: bool
    ) -> Float[Array, "I R D"]:
        """Returns the R queries and text tokens after this layer; `mask` [I, 1, 1, R], True = may be attended to."""
        config = self.config
        head_dim = config.embed_dim // config.num_heads

        def attention(name: str) -> layers.Attention:
            return layers.Attention(config.num_heads, head_dim, self.dtype, config.dropout_rate, name=name)

        def add(x: Array, change: Array, name: str) -> Array:
            change = nn.Dropout(config.dropout_rate, deterministic=deterministic)(change)
            return nn.LayerNorm(config.layer_norm_epsilon, dtype=self.dtype, name=name)(x + change)

        def feed_forward(x: Array, name: str) -> Array:
            return layers.FeedForward(config.mlp_dim, config.activation, self.dtype, name=name)(x)

        x = add(x, attention("self_attn")(x, mask=mask, deterministic=deterministic), "self_attn_norm")
        x, text = x[:, : config.num_queries], x[:, config.num_queries :]
        if self.reads_picture:
            x = add(x, attention("cross_attn")(x, patches, deterministic=deterministic), "cross_attn_norm")
        x = add(x, feed_forward(x, "mlp"), "mlp_norm")
        if config.text_vocab_size:
            x = jnp.concatenate([x, add(text, feed_forward(text, "text_mlp"), "text_mlp_norm")], axis=1)
        return layers.constrain(x)


class QFormerGroup(nn.Module):
    """One layer that reads the picture and the layers up to the next such one: what the scan repeats."""

    config: QFormerConfig
    dtype: jnp.dtype
    deterministic: bool

    @nn.compact
    def __call__(
        self, x: Float[Array, "I R D"], patches: Float[Array, "I P C"], mask: Array | None
    ) -> tuple[Float[Array, "I R D"], None]:
        """Returns (x, None), the form that `nn.scan` asks for."""
        for number in range(self.config.cross_attention_every):
            block = QFormerBlock(self.config, number == 0, self.dtype, name=f"block_{number}")
            x = block(x, patches, mask=mask, deterministic=self.deterministic)
        return x, None


class QFormer(nn.Module):
    """Patch tokens in, a fixed number of query vectors out."""

    config: QFormerConfig
    dtype: jnp.dtype
    remat: bool = False

    @nn.compact
    def __call__(
        self,
        patches: Float[Array, "I P C"],
        *,
        text_ids: Int[Array, "I T"] | None = None,
        text_mask: Bool[Array, "I T"] | None = None,
        deterministic: bool = True,
    ) -> Float[Array, "I Q D"]:
        """Returns the queries after the last layer.

        Args:
          patches: What the vision tower says of each picture.
          text_ids: The instruction beside each picture, in the Q-Former's own vocabulary; only with text input, where
            None means no instruction.
          text_mask: True for real tokens; None: all are.
          deterministic: True switches dropout off.

        Raises:
          ValueError: text for a Q-Former without text input, or more of it than `text_max_len`.
        """
        config = self.config
        if config.num_layers % config.cross_attention_every:
            raise ValueError(
                f"num_layers={config.num_layers} must be a multiple of "
                f"cross_attention_every={config.cross_attention_every}"
            )
        shape = (config.num_queries, config.embed_dim)
        query_tokens = self.param("query_tokens", layers.TOKEN_INIT, shape).astype(self.dtype)
        x = jnp.broadcast_to(query_tokens, (patches.shape[0], *shape))
        mask = None
        if config.text_vocab_size:
            x, mask = self._with_text(x, text_ids, text_mask)
        elif text_ids is not None:
            raise ValueError("text_ids: this Q-Former has no text input (text_vocab_size=0)")
        x = nn.LayerNorm(config.layer_norm_epsilon, dtype=self.dtype, name="input_norm")(x)
        x = nn.Dropout(config.dropout_rate, deterministic=deterministic)(x)
        group = nn.remat(QFormerGroup) if self.remat else QFormerGroup
        groups = layers.stacked(group, config.num_layers // config.cross_attention_every, num_inputs=2)
        x, _ = groups(config, self.dtype, deterministic, name="groups")(x, patches, mask)
        return x[:, : config.num_queries]

    def _with_text(self, queries: Array, text_ids: Array | None, text_mask: Array | None) -> tuple[Array, Array]:
        """Returns (queries and embedded text [I, R, D], what may be attended to, bool [I, 1, 1, R])."""
        config = self.config
        if text_ids is None:  # one token that nothing attends to: the queries are alone
            text_ids = jnp.zeros((queries.shape[0], 1), jnp.int32)
            text_mask = jnp.zeros(text_ids.shape, bool)
        if text_ids.shape[1] > config.text_max_len:
            raise ValueError(f"text_ids: {text_ids.shape[1]} tokens are more than text_max_len={config.text_max_len}")
        embedding = nn.Embed(
            config.text_vocab_size,
            config.embed_dim,
            dtype=self.dtype,
            embedding_init=layers.TOKEN_INIT,
            name="text_embedding",
        )
        places = self.param(
            "text_position_embedding", layers.TOKEN_INIT, (config.text_max_len, config.embed_dim)
        ).astype(self.dtype)
        text = embedding(text_ids) + places[: text_ids.shape[1]]
        real = jnp.ones(text_ids.shape, bool) if text_mask is None else text_mask.astype(bool)
        real = jnp.concatenate([jnp.ones(queries.shape[:2], bool), real], axis=1)
        return jnp.concatenate([queries, text], axis=1), real[:, None, None]
