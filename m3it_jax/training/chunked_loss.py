"""Token cross-entropy over a wide vocabulary in pieces of a row, so that the scores of all tokens never exist at once.

The gradient of each piece is made beside its loss: a piece's scores are computed once, as in the plain form, and are
gone before the next ones come. Sums over the vocabulary are reductions alone, so a head that is split over the mesh
axis `tensor` stays split. In float32 loss and gradients are those of the plain form (`losses.token_losses`).
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

Head = Callable[[Any, Array], Array]  # (its parameters, hidden [B, R, D]) -> float32 scores [B, R, V]

# CHOICE: scores of a piece on one device, 16 MiB: small beside a large head's own gradient, and still a product of a
# hundred rows at a vocabulary of 39,424, where a CPU's and a TPU's matrix units are busy.
MOST_SCORES = 1 << 22


def num_pieces(shape: tuple[int, int], vocab_size: int, *, num_shards: int = 1) -> int:
    """Returns into how many pieces of R tokens [B, R] are cut; 1 where all scores are few enough.

    Args:
      shape: B and R, over all devices.
      vocab_size: V.
      num_shards: Devices that share the rows.
    """
    num_rows, length = shape
    most = max(MOST_SCORES * num_shards // (num_rows * vocab_size), 1)  # tokens of a row
    return -(-length // most)


class _Way(NamedTuple):
    """How scores are made; known while the program is traced."""

    head: Head
    pieces: int


def weighted_loss(
    head: Head,
    params: Any,
    hidden: Float[Array, "B R D"],
    *,
    target_ids: Int[Array, "B R"],
    weights: Float[Array, "B R"],
    pieces: int,
) -> tuple[Float[Array, ""], Float[Array, "B R"], Float[Array, "B R"]]:
    """Returns (sum of weighted cross-entropies, those of each token, whether each is the best score, weighted).

    Gradients flow through the sum alone, to `params` and `hidden`.

    Args:
      head: Makes scores.
      params: Of the head.
      hidden: Last hidden states.
      target_ids: The tokens to predict.
      weights: Of each token; 0 for those that do not count.
      pieces: From `num_pieces`.
    """
    return _weighted(_Way(head, pieces), (params, hidden, target_ids, weights))


@functools.partial(jax.custom_vjp, nondiff_argnums=(0,))
def _weighted(way: _Way, given: tuple[Any, Array, Array, Array]) -> tuple[Array, Array, Array]:
    head, pieces = way
    params, hidden, target_ids, weights = given

    def one(_: None, piece: tuple[Array, ...]) -> tuple[None, tuple[Array, Array]]:
        states, ids, shares = piece
        losses, right, _ = _scored(head(params, states), ids, shares)
        return None, (losses, right)

    _, (losses, right) = jax.lax.scan(one, None, _cut(pieces, hidden, target_ids, weights))
    losses, right = _joined(losses, weights), _joined(right, weights)
    return losses.sum(), losses, right


def _forward(way: _Way, primals: Any) -> tuple[Any, Any]:
    """Returns the outputs and the gradients of the sum; what nothing is asked of (a frozen head) gets none."""
    head, pieces = way
    params, hidden, target_ids, weights = jax.tree.map(lambda one: one.value, primals)
    flags = jax.tree.map(lambda one: one.perturbed, primals[0])
    trained = {number for number, flag in enumerate(jax.tree.leaves(flags)) if flag}
    leaves, tree = jax.tree.flatten(params)

    def of(moved: list[Array], states: Array) -> Array:
        given = iter(moved)
        return head(tree.unflatten([next(given) if n in trained else leaf for n, leaf in enumerate(leaves)]), states)

    moved = [leaf for number, leaf in enumerate(leaves) if number in trained]

    def one(totals: list[Array], piece: tuple[Array, ...]) -> tuple[list[Array], tuple[Array, ...]]:
        states, ids, shares = piece
        scores, pull = jax.vjp(of, moved, states)
        losses, right, slope = _scored(scores, ids, shares)
        changes, change = pull(slope.astype(scores.dtype))
        return jax.tree.map(jnp.add, totals, changes), (losses, right, change)

    zeros = [jnp.zeros_like(leaf) for leaf in moved]
    totals, (losses, right, change) = jax.lax.scan(one, zeros, _cut(pieces, hidden, target_ids, weights))
    losses, right = _joined(losses, weights), _joined(right, weights)
    given = iter(totals)
    gradients = tree.unflatten([next(given) if n in trained else None for n in range(len(leaves))])
    return (losses.sum(), losses, right), (gradients, _joined(change, weights))


def _backward(way: _Way, saved: Any, cotangents: Any) -> tuple[Any, ...]:
    del way
    gradients, change = saved
    total = cotangents[0]
    if isinstance(total, jax.custom_derivatives.SymbolicZero):
        total = jnp.zeros(total.shape, total.dtype)
    return ((jax.tree.map(lambda leaf: leaf * total, gradients), change * total.astype(change.dtype), None, None),)


_weighted.defvjp(_forward, _backward, symbolic_zeros=True)


def _scored(scores: Array, ids: Array, weights: Array) -> tuple[Array, Array, Array]:
    """Returns (weighted losses, weighted hits, slope of the loss by the scores) of a piece."""
    places = jax.lax.broadcasted_iota(jnp.int32, scores.shape, 2)
    wanted = places == ids[:, :, None]
    best = jax.lax.stop_gradient(scores.max(axis=-1, keepdims=True))
    powers = jnp.exp(scores - best)
    total = powers.sum(axis=-1, keepdims=True)
    chosen = jnp.where(wanted, scores, 0.0).sum(axis=-1)
    losses = (jnp.log(total) + best)[:, :, 0] - chosen
    first = jnp.where(scores == best, places, scores.shape[-1]).min(axis=-1)  # of equal scores, as argmax has it
    slope = (powers / total - wanted) * weights[:, :, None]
    return losses * weights, (first == ids) * weights, slope


def _cut(pieces: int, *arrays: Array) -> tuple[Array, ...]:
    """Returns each [B, R, ...] as [pieces, B, R / pieces, ...], filled up with zeros where R does not divide."""

    def cut(array: Array) -> Array:
        size = -(-array.shape[1] // pieces)
        filling = [(0, 0), (0, size * pieces - array.shape[1])] + [(0, 0)] * (array.ndim - 2)
        return jnp.pad(array, filling).reshape(array.shape[0], pieces, size, *array.shape[2:]).swapaxes(0, 1)

    return tuple(cut(array) for array in arrays)


def _joined(array: Array, like: Array) -> Array:
    """Returns what `_cut` made whole again, without the filling."""
    whole = array.swapaxes(0, 1)
    return whole.reshape(whole.shape[0], -1, *array.shape[3:])[:, : like.shape[1]]
