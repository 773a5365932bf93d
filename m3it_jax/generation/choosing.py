"""Scores of the next token -> the token: what is forbidden or damped first, then the greedy or the drawn choice.

The order of the steps is that of transformers' `generate` (generation/utils.py, `_get_logits_processor`): repetition
penalty, least length, temperature, top-k, top-p.

Settings of a batch are a dict of arrays, so that requests with different settings share a batch and a compiled program:
`max_new`, `min_new`, `top_k` (0 = off) int32 [B]; `temperature` (0 = greedy), `top_p`, `repetition_penalty` float32
[B]; `length_penalty` float32 [B]; `seed` uint32 [B]; `stop_state` int32 [B], see `stop_texts`. The same for all rows
(`SHARED`): `stop_ids` int32 [any length]; `num_ids` int32 [], the ids that the tokenizer knows (a model may have room
for more, which mean nothing); `stop_table` int32 [states, V], see `stop_texts`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from m3it_jax.generation import stop_texts

Settings = dict[str, jax.Array]
SHARED = ("stop_ids", "num_ids", "stop_table")

# (scores [B, V], settings, number of tokens that each row has already [B]) -> token ids int32 [B].
Choose = Callable[[jax.Array, Settings, jax.Array], jax.Array]


def adjust(
    scores: jax.Array, settings: Settings, *, seen: jax.Array | None, num_new: jax.Array, stop_state: jax.Array
) -> jax.Array:
    """Returns the scores with repetition damped and unknown ids forbidden, and all ends in rows that are too short yet.

    Args:
      scores: float32 [B, V], logits or log-probabilities.
      settings: See the module.
      seen: bool [B, V], True for the tokens of the row's text so far, prompt included. A positive score is divided by
        the penalty, a negative one multiplied (CTRL, arXiv 1909.05858, as transformers applies it). None: no row has a
        penalty.
      num_new: int32 [B], tokens that each row has already.
      stop_state: int32 [B], see `stop_texts`.
    """
    if seen is not None:
        penalty = settings["repetition_penalty"][:, None]
        scores = jnp.where(seen, jnp.where(scores > 0, scores / penalty, scores * penalty), scores)
    ids = jnp.arange(scores.shape[1])
    ends = is_stop(ids, settings)
    if settings["stop_table"].shape[0] > 1:
        ends = ends | (settings["stop_table"][stop_state] == stop_texts.FOUND)
    too_early = (num_new < settings["min_new"])[:, None] & ends
    return jnp.where(too_early | (ids >= settings["num_ids"]), -jnp.inf, scores)


def follow(stop_state: jax.Array, token: jax.Array, settings: Settings) -> tuple[jax.Array, jax.Array]:
    """Returns (the state of stop texts after a token, bool: a stop text is complete)."""
    after = settings["stop_table"][stop_state, token]
    return jnp.maximum(after, stop_texts.FREE), after == stop_texts.FOUND


def is_stop(token: jax.Array, settings: Settings) -> jax.Array:
    """Returns bool, True where a token ends its row."""
    return (token[..., None] == settings["stop_ids"]).any(axis=-1)


def greedy(scores: jax.Array, settings: Settings, num_new: jax.Array) -> jax.Array:
    """Returns the token of the highest score in each row (the first of equals)."""
    # Two plain reductions: an argmax carries pairs, which a CPU does one by one.
    ids = jnp.arange(scores.shape[-1], dtype=jnp.int32)
    highest = scores.max(axis=-1, keepdims=True)
    return jnp.where(scores == highest, ids, scores.shape[-1] - 1).min(axis=-1)


def sample(scores: jax.Array, settings: Settings, num_new: jax.Array) -> jax.Array:
    """Returns a drawn token for each row with a temperature above 0 and the greedy one for the others.

    A draw depends on the row's scores, its seed and its number of tokens, and on no other row.
    """
    temperature = settings["temperature"]
    warm = scores / jnp.where(temperature > 0, temperature, 1.0)[:, None]
    kept = keep_top_p(keep_top_k(warm, settings["top_k"]), settings["top_p"])

    def draw(seed: jax.Array, count: jax.Array, row: jax.Array) -> jax.Array:
        return jax.random.categorical(jax.random.fold_in(jax.random.key(seed), count), row)

    drawn = jax.vmap(draw)(settings["seed"], num_new, kept).astype(jnp.int32)
    return jnp.where(temperature > 0, drawn, greedy(scores, settings, num_new))


def keep_top_k(scores: jax.Array, top_k: jax.Array) -> jax.Array:
    """Returns [B, V] scores with all but the `top_k` highest of a row at -inf (0: none; equals of the last stay)."""
    num_tokens = scores.shape[-1]
    rank = jnp.where(top_k > 0, jnp.minimum(top_k, num_tokens), num_tokens) - 1
    ordered = jnp.sort(scores, axis=-1, descending=True)
    least = jnp.take_along_axis(ordered, rank[:, None], axis=-1)
    return jnp.where(scores >= least, scores, -jnp.inf)


def keep_top_p(scores: jax.Array, top_p: jax.Array) -> jax.Array:
    """Returns [B, V] scores with all at -inf but the fewest likeliest tokens that together reach `top_p` (1: all).

    The likeliest token always stays.
    """
    ordered = jnp.sort(scores, axis=-1, descending=True)
    probabilities = jax.nn.softmax(ordered, axis=-1)
    # What stands before a token: below top_p, the token is still needed. Rounding must not cut the tail at 1.
    before = jnp.cumsum(probabilities, axis=-1) - probabilities
    needed = (before < top_p[:, None]) | (top_p[:, None] >= 1.0)
    last = jnp.maximum(needed.sum(axis=-1) - 1, 0)
    least = jnp.take_along_axis(ordered, last[:, None], axis=-1)
    return jnp.where(scores >= least, scores, -jnp.inf)
