"""The Q-Former: learned queries that read a picture's tokens through cross-attention (BLIP-2, arXiv 2301.12597)."""

import dataclasses

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

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


class QFormerBlock(nn.Module):
    """Self-attention, cross-attention if it is a reading layer, feed-forward: norms after the residual, as in BERT."""

    config: QFormerConfig
    reads_picture: bool
    dtype: jnp.dtype

    @nn.compact
    def __call__(
        self, x: Float[Array, "I Q D"], patches: Float[Array, "I P C"], *, deterministic: bool
    ) -> Float[Array, "I Q D"]:
        """Returns the queries after this layer."""
        config = self.config
        head_dim = config.embed_dim // config.num_heads

        def attention(name: str) -> layers.Attention:
            return layers.Attention(config.num_heads, head_dim, self.dtype, config.dropout_rate, name=name)

        def add(x: Array, change: Array, name: str) -> Array:
            change = nn.Dropout(config.dropout_rate, deterministic=deterministic)(change)
            return nn.LayerNorm(config.layer_norm_epsilon, dtype=self.dtype, name=name)(x + change)

        x = add(x, attention("self_attn")(x, deterministic=deterministic), "self_attn_norm")
        if self.reads_picture:
            x = add(x, attention("cross_attn")(x, patches, deterministic=deterministic), "cross_attn_norm")
        x = add(x, layers.FeedForward(config.mlp_dim, config.activation, self.dtype, name="mlp")(x), "mlp_norm")
        return layers.constrain(x)


class QFormerGroup(nn.Module):
    """One layer that reads the picture and the layers up to the next such one: what the scan repeats."""

    config: QFormerConfig
    dtype: jnp.dtype
    deterministic: bool

    @nn.compact
    def __call__(self, x: Float[Array, "I Q D"], patches: Float[Array, "I P C"]) -> tuple[Float[Array, "I Q D"], None]:
        """Returns (x, None), the form that `nn.scan` asks for."""
        for number in range(self.config.cross_attention_every):
            block = QFormerBlock(self.config, number == 0, self.dtype, name=f"block_{number}")
            x = block(x, patches, deterministic=self.deterministic)
        return x, None


class QFormer(nn.Module):
    """Patch tokens in, a fixed number of query vectors out."""

    config: QFormerConfig
    dtype: jnp.dtype
    remat: bool = False

    @nn.compact
    def __call__(self, patches: Float[Array, "I P C"], *, deterministic: bool = True) -> Float[Array, "I Q D"]:
        """Returns the queries after the last layer; `deterministic` switches dropout off."""
        config = self.config
        if config.num_layers % config.cross_attention_every:
            raise ValueError(
                f"num_layers={config.num_layers} must be a multiple of "
                f"cross_attention_every={config.cross_attention_every}"
            )
        shape = (config.num_queries, config.embed_dim)
        query_tokens = self.param("query_tokens", layers.TOKEN_INIT, shape).astype(self.dtype)
        x = jnp.broadcast_to(query_tokens, (patches.shape[0], *shape))
        x = nn.LayerNorm(config.layer_norm_epsilon, dtype=self.dtype, name="input_norm")(x)
        x = nn.Dropout(config.dropout_rate, deterministic=deterministic)(x)
        group = nn.remat(QFormerGroup) if self.remat else QFormerGroup
        groups = nn.scan(
            group,
            variable_axes={"params": 0},
            split_rngs={"params": True, "dropout": True},
            in_axes=nn.broadcast,
            length=config.num_layers // config.cross_attention_every,
        )
        x, _ = groups(config, self.dtype, deterministic, name="groups")(x, patches)
        return x
