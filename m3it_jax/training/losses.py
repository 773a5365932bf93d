"""Losses as sums and counts, so that means over hosts, steps and sources stay exact."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def token_losses(
    logits: Float[Array, "B R V"], target_ids: Int[Array, "B R"], weights: Float[Array, "B R"]
) -> tuple[Float[Array, " B"], Float[Array, " B"]]:
    """Returns each row's sum of weighted cross-entropies and its number of tokens that the model got right."""
    log_probs = jax.nn.log_softmax(logits.astype(jnp.float32))
    chosen = jnp.take_along_axis(log_probs, target_ids[:, :, None], axis=-1)[:, :, 0]
    right = (jnp.argmax(logits, axis=-1) == target_ids) * weights
    return -(chosen * weights).sum(axis=1), right.sum(axis=1)


def attribute_loss(logits: Float[Array, "I C"], labels: Int[Array, " I"]) -> tuple[Array, Array, Array]:
    """Returns (sum of cross-entropies, number right, number of labels); label -1 means that there is none."""
    known = labels >= 0
    log_probs = jax.nn.log_softmax(logits)
    chosen = jnp.take_along_axis(log_probs, jnp.maximum(labels, 0)[:, None], axis=-1)[:, 0]
    right = (jnp.argmax(logits, axis=-1) == labels) & known
    return -(chosen * known).sum(), right.sum(), known.sum()


def siglip_loss(similarity: Float[Array, "I I"], caption_ids: Int[Array, "I C"]) -> Array:
    """Returns the sum over pictures of SigLIP's sigmoid losses (arXiv 2303.15343, equation 1).

    Pictures that carry the same caption count as pairs: a batch of simple pictures holds many.
    """
    same = (caption_ids[:, None, :] == caption_ids[None, :, :]).all(axis=-1)
    return -jax.nn.log_sigmoid(jnp.where(same, similarity, -similarity)).sum()
