"""Beam search on the device: the `num_beams` likeliest beginnings are followed, the best finished answer wins.

The value of an answer is (sum of its tokens' log-probabilities) / (number of its tokens, the end included) **
length_penalty, as in transformers' `generate`, whose three rules of when a row is done are here too (`EARLY_STOPPING`).
"""

import functools

import jax
import jax.numpy as jnp

from m3it_jax.generation import choosing, decoding, kv_cache
from m3it_jax.generation.request import EARLY_STOPPING
from m3it_jax.models.vlm import VLM

_NEVER = -jnp.inf  # value of a beam or an answer that does not exist


@functools.partial(jax.jit, static_argnames=("model", "num_beams", "num_new_slots"))
def search(
    model: VLM,
    params: decoding.Params,
    logits: jax.Array,
    *,
    cache: kv_cache.KVCache,
    prompt_ids: jax.Array | None,
    settings: choosing.Settings,
    num_beams: int,
    num_new_slots: int,
) -> tuple[jax.Array, jax.Array]:
    """Returns the best answer of each row: (new_tokens int32 [B, N], num_new int32 [B]).

    Args:
      model: The model.
      params: Its parameters.
      logits: float32 [B, V] of `decoding.prefill`.
      cache: From the same call. Its rows are repeated for the beams.
      prompt_ids: As in `decoding.begin`.
      settings: See `choosing`. A row with `max_new` 0 is done before it begins.
      num_beams: K.
      num_new_slots: N, room for new tokens of a row; at least the largest `max_new`.
    """
    num_rows, vocab_size = logits.shape
    shape = (num_rows, num_beams)
    state = {
        "kv_cache": kv_cache.take_rows(cache, jnp.repeat(jnp.arange(num_rows), num_beams)),
        # One beam alone exists at first, else all would follow the same beginning.
        "alive": jnp.where(jnp.arange(num_beams) == 0, 0.0, _NEVER) + jnp.zeros((num_rows, 1)),
        "alive_tokens": jnp.zeros((*shape, num_new_slots), jnp.int32),
        "stop_state": jnp.repeat(settings["stop_state"][:, None], num_beams, axis=1),
        "finished": jnp.full(shape, _NEVER),
        "finished_tokens": jnp.zeros((*shape, num_new_slots), jnp.int32),
        "finished_len": jnp.zeros(shape, jnp.int32),
        "num_new": jnp.int32(0),
        "done": settings["max_new"] <= 0,
    }
    if prompt_ids is not None:
        state["seen"] = jnp.repeat(decoding.seen_tokens(prompt_ids, vocab_size)[:, None], num_beams, axis=1)
    state = _choose(jnp.repeat(logits[:, None], num_beams, axis=1), state, settings)

    def advance(state: decoding.State) -> decoding.State:
        logits, cache = _next_logits(model, params, state)
        return _choose(logits, {**state, "kv_cache": cache}, settings)

    # Scores that are no numbers end no row by themselves: no comparison with them holds.
    most = settings["max_new"].max()
    state = jax.lax.while_loop(lambda state: ~state["done"].all() & (state["num_new"] < most), advance, state)
    best = state["finished"].argmax(axis=1)[:, None]
    tokens = jnp.take_along_axis(state["finished_tokens"], best[:, :, None], axis=1)[:, 0]
    return tokens, jnp.take_along_axis(state["finished_len"], best, axis=1)[:, 0]


def _next_logits(model: VLM, params: decoding.Params, state: decoding.State) -> tuple[jax.Array, kv_cache.KVCache]:
    """Returns the logits [B, K, V] after the newest token of each beam, and the cache that holds it."""
    num_rows, num_beams, _ = state["alive_tokens"].shape
    newest = jax.lax.dynamic_index_in_dim(state["alive_tokens"], state["num_new"] - 1, axis=2, keepdims=False)
    live = jnp.repeat(~state["done"], num_beams)
    logits, cache = decoding.next_logits(model, params, newest.reshape(-1), live=live, cache=state["kv_cache"])
    return logits.reshape(num_rows, num_beams, -1), cache


def _choose(logits: jax.Array, state: decoding.State, settings: choosing.Settings) -> decoding.State:
    """Returns the state with one more token on every beam and new answers among the finished ones."""
    num_rows, num_beams, vocab_size = logits.shape
    num_new = state["num_new"] + 1  # of the candidates
    per_beam = {k: v if k in choosing.SHARED else jnp.repeat(v, num_beams) for k, v in settings.items()}
    scores = choosing.adjust(
        jax.nn.log_softmax(logits).reshape(-1, vocab_size),
        per_beam,
        seen=state["seen"].reshape(-1, vocab_size) if "seen" in state else None,
        num_new=jnp.broadcast_to(state["num_new"], num_rows * num_beams),
        stop_state=state["stop_state"].reshape(-1),
    ).reshape(logits.shape)
    totals = (state["alive"][:, :, None] + scores).reshape(num_rows, -1)
    # So many that, even if every kind of end follows every beam, as many beginnings as beams go on.
    num_candidates = num_beams * (1 + settings["stop_ids"].shape[0])
    totals, places = jax.lax.top_k(totals, min(num_candidates, totals.shape[1]))
    parents, token = places // vocab_size, (places % vocab_size).astype(jnp.int32)
    tokens = jnp.take_along_axis(state["alive_tokens"], parents[:, :, None], axis=1)
    tokens = jax.lax.dynamic_update_index_in_dim(tokens, token, state["num_new"], axis=2)
    stop_state, found = choosing.follow(jnp.take_along_axis(state["stop_state"], parents, axis=1), token, settings)
    ends = choosing.is_stop(token, settings) | found | (num_new >= settings["max_new"])[:, None]

    finished = _finish(state, tokens, jnp.where(ends, totals, _NEVER), settings=settings)
    alive, kept = jax.lax.top_k(jnp.where(ends, _NEVER, totals), num_beams)
    parents, token, stop_state = (jnp.take_along_axis(array, kept, axis=1) for array in (parents, token, stop_state))
    row = jnp.arange(num_rows)[:, None]
    new = {
        "alive": alive,
        "alive_tokens": tokens[row, kept],
        "stop_state": stop_state,
        **finished,
    }
    if "seen" in state:
        new["seen"] = state["seen"][row, parents] | (token[:, :, None] == jnp.arange(vocab_size))
    done = state["done"]
    for name, array in new.items():  # a row that is done keeps what it has
        new[name] = jnp.where(done.reshape(-1, *[1] * (array.ndim - 1)), state[name], array)
    flat = (row * num_beams + parents).reshape(-1)
    cache = kv_cache.take_rows(state["kv_cache"], flat)
    done |= _is_done(new, settings, num_new)
    return {**state, **new, "kv_cache": cache, "num_new": num_new, "done": done}


def _is_done(state: decoding.State, settings: choosing.Settings, num_new: jax.Array) -> jax.Array:
    """Returns bool [B]: no beginning is taken to beat the worst kept answer, or there are enough answers."""
    worst, penalty, rule = state["finished"].min(axis=1), settings["length_penalty"], settings["early_stopping"]
    # The longest answer is the cheapest for each token where long ones are favoured, the shortest possible elsewhere.
    hopeful = (rule == EARLY_STOPPING["never"]) & (penalty > 0)
    length = jnp.where(hopeful, settings["max_new"], num_new).astype(jnp.float32)
    no_better = state["alive"][:, 0] / length**penalty <= worst
    return no_better | ((rule == EARLY_STOPPING[True]) & (worst > _NEVER))


def _finish(
    state: decoding.State, tokens: jax.Array, totals: jax.Array, *, settings: choosing.Settings
) -> dict[str, jax.Array]:
    """Returns the best `num_beams` answers of those finished before and the candidates (those that go on at -inf)."""
    num_beams = state["finished"].shape[1]
    num_new = state["num_new"] + 1
    # As in transformers: a candidate that is not among the best num_beams may not finish.
    values = totals[:, :num_beams] / num_new.astype(jnp.float32) ** settings["length_penalty"][:, None]
    lengths = jnp.broadcast_to(num_new, values.shape)
    values, kept = jax.lax.top_k(jnp.concatenate([state["finished"], values], axis=1), num_beams)
    all_tokens = jnp.concatenate([state["finished_tokens"], tokens[:, :num_beams]], axis=1)
    all_lengths = jnp.concatenate([state["finished_len"], lengths], axis=1)
    return {
        "finished": values,
        "finished_tokens": jnp.take_along_axis(all_tokens, kept[:, :, None], axis=1),
        "finished_len": jnp.take_along_axis(all_lengths, kept, axis=1),
    }
