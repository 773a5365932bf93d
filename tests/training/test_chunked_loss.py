"""The loss in pieces is the plain one, gradients included; it takes a piece's memory, and its head stays split."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import NamedSharding, PartitionSpec

from m3it_jax import sharding
from m3it_jax.training import chunked_loss, losses

B, R, D, V = 4, 7, 6, 50


def head(params, hidden):
    return (hidden @ params["kernel"] + params["bias"]).astype(jnp.float32)


def made(*, rows: int = B, length: int = R, width: int = D, vocab: int = V):
    rng = np.random.default_rng(0)
    params = {"kernel": rng.normal(size=(width, vocab)), "bias": rng.normal(size=vocab)}
    hidden = rng.normal(size=(rows, length, width))
    weights = rng.integers(0, 2, (rows, length)) * rng.uniform(0.5, 2.0, (rows, length))
    cast = jax.tree.map(lambda array: jnp.asarray(array, jnp.float32), (params, hidden, weights))
    return cast[0], cast[1], jnp.asarray(rng.integers(0, vocab, (rows, length)), jnp.int32), cast[2]


def plain(params, hidden, ids, weights):
    row_losses, right = losses.token_losses(head(params, hidden), ids, weights)
    return row_losses.sum(), (row_losses, right)


def loss_of(pieces, params, hidden, ids, weights):
    return chunked_loss.weighted_loss(head, params, hidden, target_ids=ids, weights=weights, pieces=pieces)


@pytest.mark.parametrize("pieces", [1, 3, 7])
def test_pieces_have_the_loss_hits_and_gradients_of_the_whole(pieces: int) -> None:
    params, hidden, ids, weights = made()

    def cut(params, hidden):
        total, by_token, right = loss_of(pieces, params, hidden, ids, weights)
        return 3.0 * total, (by_token.sum(axis=1), right.sum(axis=1))

    def whole(params, hidden):
        total, told = plain(params, hidden, ids, weights)
        return 3.0 * total, told

    (total, told), found = jax.jit(jax.value_and_grad(cut, (0, 1), has_aux=True))(params, hidden)
    (wanted_total, wanted_told), wanted = jax.jit(jax.value_and_grad(whole, (0, 1), has_aux=True))(params, hidden)
    assert float(total) == pytest.approx(float(wanted_total), rel=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), told, wanted_told)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-6), found, wanted)
    # Without gradients the same numbers are made by another program.
    again = jax.jit(lambda: loss_of(pieces, params, hidden, ids, weights))()
    np.testing.assert_allclose(3.0 * again[0], total, rtol=1e-6)


def test_of_equal_scores_the_first_is_the_best() -> None:
    params = {"kernel": jnp.zeros((D, V)), "bias": jnp.zeros(V)}
    ids = jnp.array([[0, 1]])
    right = loss_of(2, params, jnp.ones((1, 2, D)), ids, jnp.ones((1, 2)))[2]
    np.testing.assert_array_equal(right, [[1.0, 0.0]])


def test_a_frozen_head_costs_no_product_for_a_gradient_that_nobody_asks() -> None:
    params, hidden, ids, weights = made()

    def count(which) -> int:
        def cut(params, hidden):
            return loss_of(1, params, hidden, ids, weights)[0]

        text = str(jax.make_jaxpr(jax.grad(cut, which))(params, hidden))
        return len(re.findall(r"= dot_general\[", text))

    assert (count(1), count((0, 1))) == (2, 3)


def test_scores_of_all_tokens_never_exist() -> None:
    """At a vocabulary of 39,424: the largest array of the program, and the peak of what it holds beside its inputs."""
    params, hidden, ids, weights = made(rows=8, length=64, width=32, vocab=39_424)
    pieces = chunked_loss.num_pieces(ids.shape, 39_424)
    assert pieces == 5

    def peak(function) -> int:
        step = jax.jit(jax.grad(function, 1)).lower(params, hidden).compile()
        return step.memory_analysis().temp_size_in_bytes

    cut = peak(lambda params, hidden: loss_of(pieces, params, hidden, ids, weights)[0])
    whole = peak(lambda params, hidden: plain(params, hidden, ids, weights)[0])
    assert whole >= 4 * cut, (whole, cut)


def test_few_scores_stay_whole_and_devices_share_the_rows() -> None:
    assert chunked_loss.num_pieces((32, 20), 2_560) == 1
    assert chunked_loss.num_pieces((64, 128), 32_000) == 64
    assert chunked_loss.num_pieces((64, 128), 32_000, num_shards=8) == 8
    assert chunked_loss.num_pieces((10_000, 3), 32_000) == 3  # a token of each row at least


def test_a_split_vocabulary_stays_split() -> None:
    """No device gathers scores or the head: reductions over `tensor` are all that is exchanged for the vocabulary."""
    params, hidden, ids, weights = made(vocab=64)
    mesh = sharding.make_mesh(data=2, fsdp=1, tensor=4)
    rows = NamedSharding(mesh, PartitionSpec(("data", "fsdp")))
    places = {"kernel": NamedSharding(mesh, PartitionSpec(None, "tensor"))}
    places["bias"] = NamedSharding(mesh, PartitionSpec("tensor"))

    def cut(params, hidden, ids, weights):
        return loss_of(2, params, hidden, ids, weights)[0]

    with jax.set_mesh(mesh):
        held = jax.device_put(params, places)
        placed = jax.device_put((hidden, ids, weights), rows)
        step = jax.jit(jax.value_and_grad(cut, (0, 1)))
        text = step.lower(held, *placed).compile().as_text()
        total, found = step(held, *placed)
    assert "all-gather" not in text and "all-reduce" in text
    (wanted_total, _), wanted = jax.value_and_grad(plain, (0, 1), has_aux=True)(params, hidden, ids, weights)
    assert float(total) == pytest.approx(float(wanted_total), rel=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=2e-6), found, wanted)
