"""What the towers share: linear layers, activations, attention, feed-forward layers, positions."""

import contextlib
import contextvars
import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from m3it_jax import adapter_weights
from m3it_jax.models import attention
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


_adapter_dropout = contextvars.ContextVar("adapter_dropout", default=0.0)


@contextlib.contextmanager
def adapter_dropout(rate: float) -> Iterator[None]:
    """The context in which a model is traced whose adapters drop this share of what they read, where it may."""
    token = _adapter_dropout.set(rate)
    try:
        yield
    finally:
        _adapter_dropout.reset(token)


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
    "gelu_tanh": jax.nn.gelu,
    "quick_gelu": quick_gelu,
    "relu": jax.nn.relu,
    "silu": jax.nn.silu,
}


def make_norm(kind: str, epsilon: float, *, dtype: jnp.dtype, name: str | None = None) -> nn.Module:
    """Returns a norm over the width, computed in float32: "rms" (a scale alone) or "layer" (scale and bias)."""
    norm = {"rms": nn.RMSNorm, "layer": nn.LayerNorm}[kind]
    return norm(epsilon, dtype=dtype, name=name)


class Linear(nn.Module):
    """x kernel + bias over the last axes of `x`. Kernels may be int8 with a `kernel_scale` for each output channel.

    A quantized kernel is told by its parameters (`models/quantization.py`), and so are a `transposed_kernel` [out, in]
    (`generation/layered.py`) and an adapter (`adapter_weights.py`): the module that was initialised in float takes any.
    """

    features: tuple[int, ...]  # the output's axes
    dtype: jnp.dtype
    num_axes: int = 1  # last axes of `x` that are summed over
    use_bias: bool = True
    kernel_init: nn.initializers.Initializer = DENSE_INIT

    @nn.compact
    def __call__(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        """Returns `x` with `features` in the place of its last `num_axes` axes."""
        lead, summed = x.shape[: x.ndim - self.num_axes], x.shape[x.ndim - self.num_axes :]

        def init(key: Array, shape: tuple[int, ...]) -> Array:
            return self.kernel_init(key, (math.prod(summed), math.prod(self.features))).reshape(shape)

        x = x.astype(self.dtype)
        if self.has_variable("params", "transposed_kernel"):
            kernel = self.get_variable("params", "transposed_kernel").astype(self.dtype)
            out = jnp.einsum("...i,oi->...o", x.reshape(*lead, -1), kernel).reshape(*lead, *self.features)
        else:
            kernel = self.param("kernel", init, (*summed, *self.features)).astype(self.dtype)
            axes = tuple(range(x.ndim - self.num_axes, x.ndim))
            out = jax.lax.dot_general(x, kernel, ((axes, tuple(range(self.num_axes))), ((), ())))
        bias = self.param("bias", nn.initializers.zeros, self.features) if self.use_bias else None
        if self.has_variable("params", "kernel_scale"):
            out = (out * self.get_variable("params", "kernel_scale")).astype(self.dtype)
        if self.has_variable("params", adapter_weights.A):
            out = out + self._adapted(x)
        return out if bias is None else out + bias.astype(self.dtype)

    def _adapted(self, x: Float[Array, "..."]) -> Float[Array, "..."]:
        """Returns what the adapter adds."""
        names = (adapter_weights.A, adapter_weights.B, adapter_weights.SCALE)
        a, b, scale = (self.get_variable("params", name).astype(self.dtype) for name in names)
        if rate := _adapter_dropout.get():
            x = nn.Dropout(rate, deterministic=not self.has_rng("dropout"))(x)
        low = jnp.tensordot(x, a, self.num_axes)
        return jnp.tensordot(low, b, 1) * scale


def attend(
    query: Float[Array, "B T N H"],
    key: Float[Array, "B S K H"],
    value: Float[Array, "B S K H"],
    *,
    mask: Bool[Array, "#B 1 #T S"] | None = None,
    bias: Float[Array, "#B #N #T S"] | None = None,
    scale: float | None = None,
) -> Float[Array, "B T N H"]:
    """Returns softmax(scale query key + bias) value, the softmax in float32. N is a multiple of K.

    A query that may attend to nothing (padding) gets a finite value that no one reads.

    Args:
      query: T queries of each row.
      key: S keys of each row.
      value: What stands beside the keys.
      mask: True where a query may attend; None: everywhere. Any axis but the last may be 1.
      bias: Added to the scores before the softmax; None: nothing. Any axis may be 1.
      scale: None means 1 / sqrt(H).
    """
    run = attention.choose(query, key, mask=mask, bias=bias)
    return run(query, key, value, mask=mask, bias=bias, scale=scale)


def write(
    cache: dict[str, Array], key: Float[Array, "B T K H"], value: Float[Array, "B T K H"], *, slot: Int[Array, ""]
) -> dict[str, Array]:
    """Returns a layer's cache with new keys and values in its slots from `slot` on, the same for all rows.

    Each is one slice written in place; rows that wrote slots of their own would need a scatter, a loop on a CPU.
    """
    k, v = cache["k"], cache["v"]
    return {
        **cache,
        "k": jax.lax.dynamic_update_slice_in_dim(k, key.transpose(0, 2, 3, 1).astype(k.dtype), slot, axis=3),
        "v": jax.lax.dynamic_update_slice_in_dim(v, value.swapaxes(1, 2).astype(v.dtype), slot, axis=2),
    }


def attend_cached(
    query: Float[Array, "B T N H"],
    key: Float[Array, "B K H S"],
    value: Float[Array, "B K S H"],
    *,
    mask: Bool[Array, "#B 1 #T S"],
    bias: Float[Array, "#B #N #T S"] | None = None,
    scale: float | None = None,
) -> Float[Array, "B T N H"]:
    """Returns what `attend` does, over keys and values as they lie in a cache: they are moved nowhere.

    Both products sum over an axis of the cache that is not its last: so a product of few rows reads memory in order.
    """
    num_rows, length, num_heads, head_dim = query.shape
    num_kv_heads, num_slots = key.shape[1], key.shape[3]
    # The T queries of a group's heads one after another.
    grouped = query.swapaxes(1, 2).reshape(num_rows, num_kv_heads, -1, head_dim)
    scores = jnp.einsum("BKGH,BKHS->BKGS", grouped, key.astype(query.dtype), preferred_element_type=jnp.float32)
    scores = scores.reshape(num_rows, num_heads, length, num_slots) * (
        1.0 / math.sqrt(head_dim) if scale is None else scale
    )
    scores = scores if bias is None else scores + bias
    weights = jax.nn.softmax(jnp.where(mask, scores, _MASKED)).astype(query.dtype)
    weights = weights.reshape(num_rows, num_kv_heads, -1, num_slots)
    attended = jnp.einsum("BKGS,BKSH->BKGH", weights, value.astype(query.dtype))
    return attended.reshape(num_rows, num_heads, length, head_dim).swapaxes(1, 2)


def stacked(block: type[nn.Module], num_blocks: int, *, num_inputs: int) -> Callable[..., Any]:
    """Returns the class of so many blocks behind one another: one definition, scanned over stacked parameters.

    A block takes (x, *inputs), `num_inputs` of them and the same for all, and returns (x, what is kept of it).
    """
    return nn.scan(
        block,
        variable_axes={"params": 0},
        split_rngs={"params": True, "dropout": True},
        in_axes=(nn.broadcast,) * num_inputs,
        length=num_blocks,
    )


def decoder_blocks(kind: type[nn.Module], config: Any, dtype: jnp.dtype, *, remat: bool, layered: bool) -> Any:
    """Returns the blocks that write, as a part of the module in whose `setup` this is called.

    Layered: a list of `config.num_layers` blocks with parameters of their own (ADR 0016); else one scanned block.
    """
    block = nn.remat(kind) if remat else kind
    if layered:
        return [block(config, dtype) for _ in range(config.num_layers)]
    return stacked(block, config.num_layers, num_inputs=2)(config, dtype)


def through(blocks: Any, x: Array, *, caches: Sequence[Any] | None, where: Any) -> tuple[Array, list[Any]]:
    """Returns x after all `decoder_blocks`, and the cache of each; None for `caches` keeps none."""
    listed, written = blocks if isinstance(blocks, list | tuple) else [blocks], []
    for block, cache in zip(listed, caches or [None] * len(listed), strict=True):
        x, cache = block(x, cache, where)
        written.append(cache)
    return x, written


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
        mask: Bool[Array, "#B 1 #T S"] | None = None,
        deterministic: bool = True,
    ) -> Float[Array, "B T D"]:
        """Returns the attended values, projected back to the width of `x`. Mask: True = attend, None = everywhere."""
        context = x if context is None else context

        def heads(name: str, source: Array) -> Array:
            return Linear((self.num_heads, self.head_dim), self.dtype, name=name)(source)

        query, key, value = heads("query", x), heads("key", context), heads("value", context)
        if deterministic or self.dropout_rate == 0.0:
            attended = attend(query, key, value, mask=mask)
        else:  # dropout falls on the attention weights, which the fused form does not give out
            scores = jnp.einsum("BTNH,BSNH->BNTS", query, key) / jnp.sqrt(self.head_dim)
            scores = scores if mask is None else jnp.where(mask, scores, jnp.finfo(scores.dtype).min)
            weights = jax.nn.softmax(scores.astype(jnp.float32)).astype(self.dtype)
            weights = nn.Dropout(self.dropout_rate, deterministic=False)(weights)
            attended = jnp.einsum("BNTS,BSNH->BTNH", weights, value)
        return Linear((x.shape[-1],), self.dtype, num_axes=2, name="out")(attended)


class FeedForward(nn.Module):
    """Two linear layers with an activation between them; `out_dim` None keeps the width."""

    mlp_dim: int
    activation: str
    dtype: jnp.dtype
    out_dim: int | None = None

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T E"]:
        """Returns down(activation(up(x)))."""
        hidden = ACTIVATIONS[self.activation](Linear((self.mlp_dim,), self.dtype, name="up")(x))
        return Linear((self.out_dim or x.shape[-1],), self.dtype, name="down")(hidden)


class GatedFeedForward(nn.Module):
    """down(activation(gate(x)) * up(x)), without biases: SwiGLU of LLaMA, gated GELU of T5 1.1."""

    mlp_dim: int
    activation: str
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x: Float[Array, "B T D"]) -> Float[Array, "B T D"]:
        """Returns the transformed tokens."""

        def linear(name: str, width: int, source: Array) -> Array:
            return Linear((width,), self.dtype, use_bias=False, name=name)(source)

        if self.has_variable("params", "gate_up"):  # merged for making tokens: generation/layered.py
            gate, up = jnp.split(linear("gate_up", 2 * self.mlp_dim, x), 2, axis=-1)
        else:
            gate, up = (linear(name, self.mlp_dim, x) for name in ("gate", "up"))
        return linear("down", x.shape[-1], ACTIVATIONS[self.activation](gate) * up)


FEED_FORWARDS: dict[str, Callable[..., nn.Module]] = {"gated": GatedFeedForward, "plain": FeedForward}


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
