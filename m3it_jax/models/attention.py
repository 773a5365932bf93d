"""Which program computes attention: the first row of a table that can take the case, whatever the model is called.

cuDNN's fused attention never writes the scores to memory; XLA's takes everything, on every device. The Pallas kernels
for TPUs are not in the table: they know a mask as segments of whole rows whose length is a multiple of 128, which
neither a vision tower's 257 tokens nor a filled cache are.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

Attention = Callable[..., Array]  # (query, key, value, *, mask, bias, scale), arrays as those of `layers.attend`

_HALF = (jnp.dtype("bfloat16"), jnp.dtype("float16"))


class Case(NamedTuple):
    """What an implementation is asked for; shapes and types alone decide."""

    platform: str
    query: jax.ShapeDtypeStruct
    key: jax.ShapeDtypeStruct
    mask: jax.ShapeDtypeStruct | None
    bias: jax.ShapeDtypeStruct | None


def platform() -> str:
    """Returns where the program that is being traced will run: on the mesh that is set, else on the default device."""
    device = jax.sharding.get_abstract_mesh().abstract_device
    return jax.default_backend() if device is None else device.platform


def _xla(
    query: Array, key: Array, value: Array, *, mask: Array | None, bias: Array | None, scale: float | None
) -> Array:
    return jax.nn.dot_product_attention(query, key, value, bias=bias, mask=mask, scale=scale, implementation="xla")


def _cudnn(
    query: Array, key: Array, value: Array, *, mask: Array | None, bias: Array | None, scale: float | None
) -> Array:
    lengths = (query.shape[1], key.shape[1])  # cuDNN broadcasts over rows and heads, never over these
    mask = None if mask is None else jnp.broadcast_to(mask, (*mask.shape[:2], *lengths))
    bias = None if bias is None else jnp.broadcast_to(bias, (*bias.shape[:2], *lengths)).astype(query.dtype)
    return jax.nn.dot_product_attention(query, key, value, bias=bias, mask=mask, scale=scale, implementation="cudnn")


def _cudnn_takes(case: Case) -> bool:
    """Whether cuDNN is there and takes the case: half precision, and even lengths where scores are masked or biased."""
    if case.platform != "gpu" or case.query.dtype not in _HALF or case.key.dtype != case.query.dtype:
        return False
    masked = case.mask is not None or case.bias is not None
    if masked and (case.query.shape[1] % 2 or case.key.shape[1] % 2):
        return False
    try:  # JAX's own checks of the library's version, the device and the head's width
        jax.eval_shape(
            functools.partial(_cudnn, scale=1.0), case.query, case.key, case.key, mask=case.mask, bias=case.bias
        )
    except (NotImplementedError, RuntimeError, ValueError):
        return False
    return True


def _always(case: Case) -> bool:
    del case
    return True


# First match wins; the last row takes every case.
IMPLEMENTATIONS: tuple[tuple[str, Callable[[Case], bool], Attention], ...] = (
    ("cudnn", _cudnn_takes, _cudnn),
    ("xla", _always, _xla),
)


def choose(query: Array, key: Array, *, mask: Array | None, bias: Array | None) -> Attention:
    """Returns the implementation for these arrays; nothing is computed."""

    def shape(array: Array | None) -> jax.ShapeDtypeStruct | None:
        return None if array is None else jax.ShapeDtypeStruct(array.shape, array.dtype)

    case = Case(platform(), shape(query), shape(key), shape(mask), shape(bias))
    return next(run for _, takes, run in IMPLEMENTATIONS if takes(case))
