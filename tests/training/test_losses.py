"""Losses against their formulas, as sums and counts."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from m3it_jax.training import losses


def test_token_losses_are_weighted_sums() -> None:
    logits = jax.random.normal(jax.random.key(0), (2, 3, 5))
    targets, weights = jnp.asarray([[0, 4, 2], [1, 1, 3]]), jnp.asarray([[1.0, 0.0, 1.0], [0.0, 0.0, 0.0]])
    total, right = losses.token_losses(logits, targets, weights)
    probability = np.asarray(jax.nn.softmax(logits))
    wanted = -np.log(probability[0, 0, 0]) - np.log(probability[0, 2, 2])
    np.testing.assert_allclose(total, [wanted, 0.0], rtol=1e-5)
    hits = (np.asarray(logits).argmax(-1) == np.asarray(targets)) * np.asarray(weights)
    np.testing.assert_array_equal(right, hits.sum(axis=1))


def test_a_missing_label_counts_for_nothing() -> None:
    logits = jnp.asarray([[4.0, 0.0], [9.0, -9.0]])
    total, right, known = losses.attribute_loss(logits, jnp.asarray([0, -1]))
    assert float(total) == pytest.approx(float(np.log1p(np.exp(-4.0))), rel=1e-5)
    assert (int(right), int(known)) == (1, 1)


def test_equal_captions_are_pairs() -> None:
    """Pictures 0 and 1 share a caption, so a high similarity between them must cost nothing."""
    captions = jnp.asarray([[5, 6], [5, 6], [7, 0]])
    same = jnp.asarray([[1, 1, -1], [1, 1, -1], [-1, -1, 1]]) * 50.0
    assert float(losses.siglip_loss(same, captions)) == pytest.approx(0.0, abs=1e-6)
    diagonal = jnp.where(jnp.eye(3) > 0, 50.0, -50.0)
    assert float(losses.siglip_loss(diagonal, captions)) == pytest.approx(100.0, rel=1e-5)
