"""The operations that the plain models are made of, number by number."""

import math

import numpy as np
import pytest

from m3it_jax.checkpoint_conversion.certificate.plain import arithmetic

GRID = np.linspace(-6.0, 6.0, 49)
TANH = [0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) for x in GRID]
SILU = [x / (1 + math.exp(-x)) for x in GRID]
WANTED = {
    "gelu": [x * 0.5 * math.erfc(-x / math.sqrt(2)) for x in GRID],
    "gelu_new": TANH,
    "gelu_pytorch_tanh": TANH,
    "quick_gelu": [x / (1 + math.exp(-1.702 * x)) for x in GRID],
    "relu": [max(x, 0.0) for x in GRID],
    "silu": SILU,
    "swish": SILU,
}


def test_every_activation_is_that_of_its_definition() -> None:
    assert arithmetic.ACTIVATIONS.keys() == WANTED.keys()
    for name, function in arithmetic.ACTIVATIONS.items():
        np.testing.assert_allclose(function(GRID), WANTED[name], atol=1e-12, err_msg=name)


def tensors(**named):
    return type("Tensors", (), {"__call__": lambda _, name: named[name], "optional": lambda _, name: named.get(name)})()


def test_products_and_norms() -> None:
    x = np.array([[1.0, 2.0, 6.0], [0.0, 0.0, 0.0]])
    weight, bias = np.array([[1.0, 0.0, 2.0], [3.0, 1.0, 0.0]]), np.array([10.0, 20.0])
    named = {"a.weight": weight, "b.weight": weight, "b.bias": bias}
    np.testing.assert_array_equal(arithmetic.linear(tensors(**named), "a", x), [[13.0, 5.0], [0.0, 0.0]])
    np.testing.assert_array_equal(arithmetic.linear(tensors(**named), "b", x), [[23.0, 25.0], [10.0, 20.0]])
    norm = tensors(**{"n.weight": np.array([1.0, 2.0, 3.0]), "n.bias": np.array([0.5, 0.0, -0.5])})
    # Mean 3, variance 14/3; mean of squares 41/3.
    deviation = math.sqrt(14 / 3 + 0.25)
    wanted = [[-2 / deviation + 0.5, -2 / deviation, 9 / deviation - 0.5], [0.5, 0.0, -0.5]]
    np.testing.assert_allclose(arithmetic.layer_norm(norm, "n", x, epsilon=0.25), wanted)
    wanted = np.array([[1.0, 4.0, 18.0], [0.0, 0.0, 0.0]]) / math.sqrt(41 / 3 + 0.25)
    np.testing.assert_allclose(arithmetic.rms_norm(norm, "n", x, epsilon=0.25), wanted)


@pytest.mark.parametrize("scale", [0.5, 400.0])
def test_attention_is_the_formula_row_by_row_whatever_the_size_of_the_scores(scale: float) -> None:
    draw = np.random.default_rng(0)
    query, key, value = draw.normal(size=(4, 3, 5)), draw.normal(size=(2, 3, 5)), draw.normal(size=(2, 3, 5))
    query[:, 1] *= 1e-3  # one row of small scores beside rows of large ones
    found = arithmetic.attend(query, key, value, added=arithmetic.causal(3), scale=scale)
    for head in range(4):
        for row in range(3):
            scores = [scale * float(query[head, row] @ key[head // 2, place]) for place in range(row + 1)]
            weights = [1 / sum(math.exp(min(other - one, 700)) for other in scores) for one in scores]
            wanted = sum(weight * value[head // 2, place] for place, weight in enumerate(weights))
            np.testing.assert_allclose(found[row, 5 * head : 5 * head + 5], wanted, atol=1e-9)
