"""Losses against NumPy in float64, as sums and counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from m3it_jax.training import losses


def log_softmax(logits) -> np.ndarray:
    logits = np.asarray(logits, np.float64)
    return logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))


def drawn(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(0.0, 2.0, shape).astype(np.float32)


def test_token_losses_are_weighted_sums() -> None:
    logits = drawn(2, 3, 5)
    targets, weights = np.array([[0, 4, 2], [1, 1, 3]]), np.array([[1.0, 0.0, 1.0], [0.0, 0.5, 0.0]], np.float32)
    logits[0, 2, 2], logits[1, 1, 1] = 4.0, 4.0  # two that are right, one of them half a token
    total, right = losses.token_losses(jnp.asarray(logits), jnp.asarray(targets), jnp.asarray(weights))
    log_p = log_softmax(logits)
    wanted = [-log_p[0, 0, 0] - log_p[0, 2, 2], -0.5 * log_p[1, 1, 1]]
    np.testing.assert_allclose(total, wanted, rtol=1e-5)
    np.testing.assert_array_equal(right, [1.0 + (logits[0, 0].argmax() == 0), 0.5])


def test_logits_of_half_precision_are_summed_in_float32() -> None:
    logits, targets = jnp.asarray(drawn(1, 64, 33), jnp.bfloat16), jnp.zeros((1, 64), jnp.int32)
    total, _ = losses.token_losses(logits, targets, jnp.ones((1, 64)))
    assert total.dtype == jnp.float32
    np.testing.assert_allclose(total, [-log_softmax(logits.astype(jnp.float32))[0, :, 0].sum()], rtol=1e-5)


def test_a_missing_label_counts_for_nothing() -> None:
    logits, labels = drawn(6, 3), np.array([0, -1, 2, 1, -1, 0])
    logits[1, 0] = logits[4, 0] = 50.0  # what is not known may not count as class 0, right or wrong
    logits[3, 2], logits[5, 0] = 20.0, 20.0  # one wrong, one right
    total, right, known = losses.attribute_loss(jnp.asarray(logits), jnp.asarray(labels))
    log_p, rows = log_softmax(logits), [0, 2, 3, 5]
    assert float(total) == pytest.approx(-sum(log_p[row, labels[row]] for row in rows), rel=1e-5)
    assert int(right) == sum(logits[row].argmax() == labels[row] for row in rows)
    assert int(known) == 4


def test_the_caption_loss_is_that_of_the_formula() -> None:
    """Equation 1 of SigLIP: each pair of picture and caption is a yes or no of its own."""
    similarity = drawn(4, 4)
    captions = np.array([[5, 6], [7, 0], [5, 6], [5, 0]])  # 0 and 2 are alike; 3 shares a word alone
    wanted = 0.0
    for picture in range(4):
        for caption in range(4):
            sign = 1.0 if (captions[picture] == captions[caption]).all() else -1.0
            wanted += np.log1p(np.exp(-sign * float(similarity[picture, caption])))
    assert float(losses.siglip_loss(jnp.asarray(similarity), jnp.asarray(captions))) == pytest.approx(wanted, rel=1e-5)


def test_equal_captions_are_pairs() -> None:
    """Pictures 0 and 1 share a caption, so a high similarity between them must cost nothing."""
    captions = jnp.asarray([[5, 6], [5, 6], [7, 0]])
    same = jnp.asarray([[1, 1, -1], [1, 1, -1], [-1, -1, 1]]) * 50.0
    assert float(losses.siglip_loss(same, captions)) == pytest.approx(0.0, abs=1e-6)
    diagonal = jnp.where(jnp.eye(3) > 0, 50.0, -50.0)
    assert float(losses.siglip_loss(diagonal, captions)) == pytest.approx(100.0, rel=1e-5)


def test_every_loss_goes_down_along_its_own_gradient() -> None:
    logits, targets = jnp.asarray(drawn(2, 3, 5)), jnp.asarray([[0, 4, 2], [1, 1, 3]])
    gradient = jax.grad(lambda x: losses.token_losses(x, targets, jnp.ones((2, 3)))[0].sum())(logits)
    # Of a cross-entropy: softmax less the wanted one.
    np.testing.assert_allclose(gradient, np.exp(log_softmax(logits)) - np.eye(5)[np.asarray(targets)], atol=1e-5)
