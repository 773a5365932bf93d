"""The programs of the scheduler, each of one shape: whatever joins and leaves, nothing is compiled again.

    fill     a block of one row's prompt, and its copy in the pool
    restore  blocks of the pool in one row
    step     up to `MOST_STEPS` tokens of every row that is live

The last token of a prompt is not filled: it is the first that `step` takes, so its answer's first token is chosen where
all others are.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from m3it_jax.generation import choosing, slot_cache
from m3it_jax.generation.slot_cache import Layers
from m3it_jax.models.slots import Place
from m3it_jax.models.vlm import VLM

Params = dict[str, Any]
Rows = dict[str, jax.Array]

MOST_STEPS = 16  # CHOICE: of one call; what a call costs the host is shared by so many tokens of a small model
MOST_ALTERNATIVES = 20  # OpenAI's most `top_logprobs`


def _extend(
    model: VLM, embeds: jax.Array, positions: jax.Array, *, caches: Layers, place: Place
) -> tuple[jax.Array, Layers]:
    return model.decoder.extend_slots(embeds, positions, caches=caches, place=place)


@functools.partial(jax.jit, static_argnames="model", donate_argnames=("cache", "pool"))
def fill(
    model: VLM,
    params: Params,
    *,
    cache: Layers,
    pool: Layers,
    token_ids: jax.Array,
    shown: jax.Array,
    is_shown: jax.Array,
    row: jax.Array,
    position: jax.Array,
    block: jax.Array,
) -> tuple[Layers, Layers]:
    """Returns (the cache with a block of a prompt in it, the pool with a copy); both that go in are used up.

    Args:
      model: The model.
      params: Its parameters.
      cache: See `slot_cache`.
      pool: See `slot_cache`.
      token_ids: int32 [C]; behind the prompt's end anything: it is never attended to and written over.
      shown: [C, D], the picture's part where a picture stands.
      is_shown: bool [C], True where a picture stands.
      row: int32 [].
      position: int32 [], of the first token; a multiple of C.
      block: int32 [], number in the pool; N or more keeps no copy.
    """
    index = jnp.where(is_shown, jnp.arange(len(token_ids)), -1)[None]
    positions = (position + jnp.arange(len(token_ids), dtype=jnp.int32))[None]
    embeds = model.apply({"params": params}, token_ids[None], index, shown[None], method="embed")
    place = Place(row, position + len(token_ids))
    _, cache = model.apply({"params": params}, embeds, positions, caches=cache, place=place, method=_extend)
    return cache, slot_cache.save(cache, pool, row=row, position=position, block=block)


@functools.partial(jax.jit, donate_argnames="cache")
def restore(cache: Layers, pool: Layers, *, blocks: jax.Array, row: jax.Array, start: jax.Array, count: jax.Array):
    """Returns the cache with `count` blocks of the pool in a row, from its block `start` on; the cache is used up.

    Args:
      cache: See `slot_cache`.
      pool: See `slot_cache`.
      blocks: int32 [most blocks of a row], numbers in the pool of the row's blocks.
      row: int32 [].
      start: int32 [], the first block of the row that is copied.
      count: int32 [].
    """

    def one(number: jax.Array, cache: Layers) -> Layers:
        position = number * slot_cache.BLOCK
        return slot_cache.copy(cache, pool, row=row, position=position, block=blocks[number])

    return jax.lax.fori_loop(start, start + count, one, cache)


clear = jax.jit(slot_cache.clear, donate_argnums=0)


@functools.partial(jax.jit, static_argnames="model", donate_argnames="cache")
def step(
    model: VLM,
    params: Params,
    *,
    cache: Layers,
    rows: Rows,
    shared: choosing.Settings,
    num_steps: jax.Array,
) -> tuple[Layers, dict[str, jax.Array]]:
    """Returns (the cache, what came out) after up to `num_steps` tokens of each live row; the cache is used up.

    Args:
      model: The model.
      params: Its parameters.
      cache: See `slot_cache`.
      rows: The settings of `choosing`, each [B], and `token` int32 (the newest, not in the cache yet), `position`
        int32 (its own), `num_new` int32 (new tokens so far), `live` bool, `is_scored` bool (wants the scores).
      shared: The settings of `choosing.SHARED`.
      num_steps: int32 [], at most M = MOST_STEPS.

    Returns:
      `tokens` int32 [M, B] and `made` bool [M, B], True where a row made a token; `stop_state` int32 [B]; `is_finite`
      bool [B], False where the model's scores were no numbers; `scores` float32 [M, B], log p of the token without
      temperature; `best` int32 [M, B, 20] and `best_scores` float32, the likeliest tokens. Scores are 0 where no live
      row wants them.
    """
    num_rows, num_slots = rows["token"].shape[0], sum(level.shape[3] for level in cache[0]["k"])
    settings = {**rows, **shared}

    def unfinished(carry: tuple) -> jax.Array:
        number, _, rows, _ = carry
        return (number < num_steps) & rows["live"].any()

    def advance(carry: tuple) -> tuple:
        number, cache, rows, out = carry
        live = rows["live"]
        positions = jnp.where(live, rows["position"], num_slots)[:, None]
        place = Place(None, jnp.where(live, rows["position"] + 1, 0).max())
        ids, variables = rows["token"][:, None], {"params": params}
        embeds = model.apply(variables, ids, jnp.full_like(ids, -1), None, method="embed")
        hidden, cache = model.apply(variables, embeds, positions, caches=cache, place=place, method=_extend)
        logits = model.apply(variables, hidden, method="logits")[:, 0]
        new, token, made = _choose(logits, rows, settings)
        known = jnp.where(jnp.arange(logits.shape[1]) < shared["num_ids"], logits, -jnp.inf)
        scored = _scored(known, token, (live & rows["is_scored"]).any())
        here = {"tokens": token, "made": made, **scored}
        out = {
            **{name: out[name].at[number].set(array) for name, array in here.items()},
            "is_finite": out["is_finite"] & (jnp.isfinite(logits).all(axis=-1) | ~live),
        }
        return number + 1, cache, new, out

    state = {name: rows[name] for name in ("token", "position", "num_new", "live", "stop_state", "is_scored")}
    _, cache, state, out = jax.lax.while_loop(unfinished, advance, (jnp.int32(0), cache, state, _nothing_out(num_rows)))
    return cache, {**out, "stop_state": state["stop_state"]}


def _nothing_out(num_rows: int) -> dict[str, jax.Array]:
    """Returns what `step` gives out, before its first token."""
    shape = (MOST_STEPS, num_rows)
    return {
        "tokens": jnp.zeros(shape, jnp.int32),
        "made": jnp.zeros(shape, bool),
        "scores": jnp.zeros(shape, jnp.float32),
        "best": jnp.zeros((*shape, MOST_ALTERNATIVES), jnp.int32),
        "best_scores": jnp.zeros((*shape, MOST_ALTERNATIVES), jnp.float32),
        "is_finite": jnp.ones(num_rows, bool),
    }


def _choose(logits: jax.Array, rows: Rows, settings: choosing.Settings) -> tuple[Rows, jax.Array, jax.Array]:
    """Returns (the rows after a token each, the tokens, which rows made one)."""
    live, num_new = rows["live"], rows["num_new"]
    scores = choosing.adjust(logits, settings, seen=None, num_new=num_new, stop_state=rows["stop_state"])
    # One program for both, so that greedy rows have the same bits beside rows that draw; the sort is not made for none.
    is_drawn = (live & (settings["temperature"] > 0)).any()
    token = jax.lax.cond(is_drawn, choosing.sample, choosing.greedy, scores, settings, num_new)
    stop_state, found = choosing.follow(rows["stop_state"], token, settings)
    ended = choosing.is_stop(token, settings) | found | (num_new + 1 >= settings["max_new"])
    new = {
        **rows,
        "token": jnp.where(live, token, rows["token"]),
        "position": rows["position"] + live,
        "num_new": num_new + live,
        "stop_state": jnp.where(live, stop_state, rows["stop_state"]),
        "live": live & ~ended,
    }
    return new, token, live


def _scored(logits: jax.Array, token: jax.Array, is_wanted: jax.Array) -> dict[str, jax.Array]:
    """Returns `scores`, `best` and `best_scores` of one step, zeros where nobody wants them."""
    count = min(MOST_ALTERNATIVES, logits.shape[1])

    def computed(logits: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        log_p = jax.nn.log_softmax(logits)
        best_scores, best = jax.lax.top_k(log_p, count)
        chosen = jnp.take_along_axis(log_p, token[:, None], axis=1)[:, 0]
        room = ((0, 0), (0, MOST_ALTERNATIVES - count))
        return chosen, jnp.pad(best.astype(jnp.int32), room), jnp.pad(best_scores, room, constant_values=-jnp.inf)

    def nothing(logits: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        shape = (logits.shape[0], MOST_ALTERNATIVES)
        return jnp.zeros(logits.shape[0]), jnp.zeros(shape, jnp.int32), jnp.zeros(shape)

    return dict(zip(("scores", "best", "best_scores"), jax.lax.cond(is_wanted, computed, nothing, logits), strict=True))
