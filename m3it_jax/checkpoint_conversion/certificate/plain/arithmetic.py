"""The few operations that all the models are made of, on float64 arrays of one row [T, D]."""

import math
from collections.abc import Callable

import numpy as np

from m3it_jax.checkpoint_conversion.certificate.plain.folder import Tensors

_erf = np.frompyfunc(math.erf, 1, 1)


def gelu(x: np.ndarray) -> np.ndarray:
    """Returns the GELU through the error function."""
    return 0.5 * x * (1.0 + np.asarray(_erf(x / math.sqrt(2.0)), np.float64))


def gelu_new(x: np.ndarray) -> np.ndarray:
    """Returns the GELU through tanh, which Flan-T5 was trained with (google-research/bert modeling.py)."""
    return 0.5 * x * (1.0 + np.tanh(math.sqrt(2.0 / math.pi) * (x + 0.044715 * x**3)))


def sigmoid(x: np.ndarray) -> np.ndarray:
    """Returns 1 / (1 + exp(-x)) without overflow."""
    return 0.5 * (1.0 + np.tanh(0.5 * x))


# The names are those of `hidden_act` in config.json.
ACTIVATIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "gelu": gelu,
    "gelu_new": gelu_new,
    "gelu_pytorch_tanh": gelu_new,
    "quick_gelu": lambda x: x * sigmoid(1.702 * x),
    "relu": lambda x: np.maximum(x, 0.0),
    "silu": lambda x: x * sigmoid(x),
    "swish": lambda x: x * sigmoid(x),
}


def linear(tensors: Tensors, name: str, x: np.ndarray) -> np.ndarray:
    """Returns x W^T + b; the bias may be missing."""
    y = x @ tensors(f"{name}.weight").T
    bias = tensors.optional(f"{name}.bias")
    return y if bias is None else y + bias


def layer_norm(tensors: Tensors, name: str, x: np.ndarray, *, epsilon: float) -> np.ndarray:
    """Returns (x - mean) / sqrt(variance + epsilon) * weight + bias."""
    centred = x - x.mean(axis=-1, keepdims=True)
    normed = centred / np.sqrt((centred**2).mean(axis=-1, keepdims=True) + epsilon)
    return normed * tensors(f"{name}.weight") + tensors(f"{name}.bias")


def rms_norm(tensors: Tensors, name: str, x: np.ndarray, *, epsilon: float) -> np.ndarray:
    """Returns x / sqrt(mean of squares + epsilon) * weight."""
    return x / np.sqrt((x**2).mean(axis=-1, keepdims=True) + epsilon) * tensors(f"{name}.weight")


def heads(x: np.ndarray, num_heads: int) -> np.ndarray:
    """Returns [N, T, H] of [T, N * H]."""
    return x.reshape(len(x), num_heads, -1).transpose(1, 0, 2)


def attend(query: np.ndarray, key: np.ndarray, value: np.ndarray, *, added: np.ndarray | float, scale: float):
    """Returns [T, N * H]: the values of the keys that each query attends to, its heads side by side.

    Args:
      query: [N, T, H].
      key: [K, S, H]; N / K neighbouring query heads share one key head.
      value: [K, S, H].
      added: What is added to the scores [N, T, S]: 0 where a query may attend, -inf where not, or a position bias.
      scale: What the products are multiplied with.
    """
    shared = len(query) // len(key)
    key, value = np.repeat(key, shared, axis=0), np.repeat(value, shared, axis=0)
    scores = query @ key.transpose(0, 2, 1) * scale + added
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    weights /= weights.sum(axis=-1, keepdims=True)
    return (weights @ value).transpose(1, 0, 2).reshape(query.shape[1], -1)


def causal(length: int) -> np.ndarray:
    """Returns [T, T]: 0 where the key stands at or before the query, -inf elsewhere."""
    return np.where(np.tril(np.ones((length, length), bool)), 0.0, -np.inf)
