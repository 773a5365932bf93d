"""What the towers share: activations, attention, feed-forward layers, rotary positions."""

import math
from collections.abc import Callable
from contextlib import AbstractContextManager

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from m3it_jax.sharding import ShardingRules

# Only where learning starts from nothing: a width-128 tower with transformers' 0.02 would start 4x too quiet.
DENSE_INIT = nn.initializers.lecun_normal()
_MASKED = -0.7 * float(jnp.finfo(jnp.float32).max)  # jax.nn.dot_product_attention's, far from an overflow in a sum
TOKEN_INIT = nn.initializers.normal(stddev=0.02)  # transformers' initializer_range of BLIP-2 and LLaMA


def activation_rules(rules: ShardingRules) -> AbstractContextManager[None]:
    """Returns the context in which a model is traced: its activation constraints take their mesh axes from `rules`.

    The mesh is the one set by `jax.set_mesh` around the jitted call; without one there are no constraints.
    """
    return nn.logical_axis_rules(rules.pairs())


def constrain(x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
    """Returns `x`, bound to the mesh axes of a batch of sequences: after embedding, after each block, before logits."""
    return nn.with_logical_constraint(x, ("act_batch", "act_seq", "act_embed"))


@jax.custom_vjp
def quick_gelu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Returns x * sigmoid(1.702 x), CLIP's activation (openai/CLIP clip/model.py).

    The gradient keeps the sigmoid of the forward pass: XLA's CPU back end would compute the exponential again.
    """
    return x * jax.nn.sigmoid(1.702 * x)


def _quick_gelu_forward(x: Array) -> tuple[Array, tuple[Array, Array]]:
    gate = jax.nn.sigmoid(1.702 * x)
    return x * gate, (x, gate)


def _quick_gelu_backward(saved: tuple[Array, Array], gradient: Array) -> tuple[Array]:
    x, gate = saved
    return (gradient * gate * (1.0 + 1.702 * x * (1.0 - gate)),)


quick_gelu.defvjp(_quick_gelu_forward, _quick_gelu_backward)


def exact_gelu(x: Float[Array, "..."]) -> Float[Array, "..."]:
    """Returns the GELU through the error function, as BERT and EVA use it."""
    return jax.nn.gelu(x, approximate=False)


ACTIVATIONS: dict[str, Callable[[Array], Array]] = {
    "gelu": exact_gelu,
    "quick_gelu": quick_gelu,
    "silu": jax.nn.silu,
}


def attend(
    query: Float[Array, "B T N H"],
    key: Float[Array, "B S K H"],
    value: Float[Array, "B S K H"],
    *,
    mask: Bool[Array, "B 1 T S"] | None = None,
) -> Float[Array, "B T N H"]:
    """Returns softmax(query key / sqrt(H)) value, the softmax in float32; N is a multiple of K. Mask: True = attend.

    A query that may attend to nothing (padding) gets a finite value that no one reads.
    """
    return jax.nn.dot_product_attention(query, key, value, mask=mask)


def write(
    cache: dict[str, Float[Array, "B K S H"]], new: dict[str, Float[Array, "B T K H"]], slot: Int[Array, ""]
) -> dict[str, Float[Array, "B K S H"]]:
    """Returns a layer's cache with new keys and values in the slots from `slot` on, the same for all rows.

    One slice is written in place; rows that wrote slots of their own would need a scatter, a loop on a CPU.
    """
    written = {
        name: jax.lax.dynamic_update_slice_in_dim(
            cache[name], array.swapaxes(1, 2).astype(cache[name].dtype), slot, axis=2
        )
        for name, array in new.items()
    }
    return {**cache, **written}


def attend_cached(
    query: Float[Array, "B T N H"],
    key: Float[Array, "B K S H"],
    value: Float[Array, "B K S H"],
    *,
    mask: Bool[Array, "B 1 T S"],
) -> Float[Array, "B T N H"]:
    """Returns what `attend` does, over keys and values as they lie in a cache: nothing of it is moved or copied."""
    num_rows, length, num_heads, head_dim = query.shape
    num_kv_heads = key.shape[1]
    grouped = query.swapaxes(1, 2).reshape(num_rows, num_kv_heads, -1, head_dim)  # N/K heads' T queries one after another
    scores = jnp.einsum("BKGH,BKSH->BKGS", grouped, key.astype(query.dtype), preferred_element_type=jnp.float32)
    scores = scores.reshape(num_rows, num_heads, length, -1) / math.sqrt(head_dim)
    weights = jax.nn.softmax(jnp.where(mask, scores, _MASKED)).astype(query.dtype)
    weights = weights.reshape(num_rows, num_kv_heads, -1, key.shape[2])
    attended = jnp.einsum("BKGS,BKSH->BKGH", weights, value.astype(query.dtype))
    return attended.reshape(num_rows, num_heads, length, head_dim).swapaxes(1, 2)


class Attention(nn.Module):
    """Multi-head attention without a cache: queries of `x` over keys and values of `context` (None: of `x`)."""

    num_heads: int
    head_dim: int
    dtype: jnp.dtype
    dropout_rate: float = 0.0

    @nn.compact
    def __call__(
        self,
        x: Float[Array, "B T D"],
        context: Float[Array, "B S C"] | None = None,
        *,
        deterministic: bool = True,
    ) -> Float[Array, "B T D"]:
        """Returns the attended values, projected back to the width of `x`."""
        context = x if context is None else context

        def heads(name: str, source: Array) -> Array:
            shape = (self.num_heads, self.head_dim)
            return nn.DenseGeneral(shape, dtype=self.dtype, kernel_init=DENSE_INIT, name=name)(source)

        query, key, value = heads("query", x), heads("key", context), heads("value", context)
        if deterministic or self.dropout_rate == 0.0:
            attended = attend(query, key, value)
        else:  # dropout falls on the attention weights, which the fused form does not give out
            scores = jnp.einsum("BTNH,BSNH->BNTS", query, key) / jnp.sqrt(self.head_dim)
            weights = jax.nn.softmax(scores.astype(jnp.float32)).astype(self.dtype)
            weights = nn.Dropout(self.dropout_rate, deterministic=False)(weights)
            attended = jnp.einsum("BNTS,BSNH->BTNH", weights, value)
        return nn.DenseGeneral(x.shape[-1], axis=(-2, -1), dtype=self.dtype, kernel_init=DENSE_INIT, name="out")(
            attended
        )


class FeedForward(nn.Module):
    """Two dense layers with an activation between them."""

    mlp_dim: int
    activation: str
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        """Returns down(activation(up(x)))."""
        hidden = nn.Dense(self.mlp_dim, dtype=self.dtype, kernel_init=DENSE_INIT, name="up")(x)
        hidden = ACTIVATIONS[self.activation](hidden)
        return nn.Dense(x.shape[-1], dtype=self.dtype, kernel_init=DENSE_INIT, name="down")(hidden)


def rotate(x: Float[Array, "B T N H"], positions: Int[Array, "B T"], base: float) -> Float[Array, "B T N H"]:
    """Returns `x` with rotary positions in the rotate-half form, in which Hugging Face stores LLaMA weights.

    Angles are computed in float32: bfloat16 cannot tell neighbouring positions apart beyond 256.
    """
    half = x.shape[-1] // 2
    frequency = base ** (-jnp.arange(half, dtype=jnp.float32) / half)
    angle = positions[:, :, None, None].astype(jnp.float32) * frequency
    cos, sin = jnp.cos(angle), jnp.sin(angle)
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1).astype(x.dtype)
