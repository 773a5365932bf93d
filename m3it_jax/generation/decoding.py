"""The programs that run on the device: encode pictures, prefill, extend, and the loop that writes whole answers.

Each is jitted on its own with the model as a static argument, so its compiled form is found again by the shapes alone.
The model and its parameters come from `layered.of`.

    encode_images -> image_embeds
    prefill       -> scores after the prompt, cache       extend: the same for more tokens of a filled cache
    begin         -> state: the first token of each row
    run           -> state: up to `num_steps` more tokens of each row, one while_loop that ends when all rows are done

Rows are dicts of int32 arrays [B, T]: `token_ids`, `image_token_index` (place in the flattened image_embeds, -1 for
text) and `segment_ids` (1 = token, 0 = padding at the end of the row).
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp

from m3it_jax.generation import choosing, kv_cache
from m3it_jax.models.decoder import last_tokens
from m3it_jax.models.vlm import VLM

Params = dict[str, Any]
Rows = dict[str, jax.Array]
State = dict[str, Any]


@functools.partial(jax.jit, static_argnames="model")
def encode_images(
    model: VLM,
    params: Params,
    images: jax.Array,
    *,
    text_ids: jax.Array | None = None,
    text_mask: jax.Array | None = None,
) -> jax.Array:
    """Returns image_embeds [I, Q, D] of pictures [I, h, w, 3]: uint8, or float32 that is normalised already.

    `text_ids` int32 [I, C] and `text_mask` bool [I, C], True = real, are for a Q-Former that reads text.
    """
    return model.apply({"params": params}, images, text_ids=text_ids, text_mask=text_mask, method="encode_images")


@functools.partial(jax.jit, static_argnames=("model", "num_slots"))
def prefill(
    model: VLM, params: Params, rows: Rows, *, image_embeds: jax.Array, num_slots: int
) -> tuple[jax.Array, kv_cache.KVCache]:
    """Returns (scores float32 [B, V] of the first new token of each row, a cache of `num_slots` slots).

    The cache holds the rows; of an encoder-decoder model it holds what the encoder made of them beside its slots, in
    which the start token stands.
    """
    num_rows = rows["token_ids"].shape[0]
    empty = kv_cache.make(model.decoder.config, num_rows=num_rows, num_slots=num_slots, dtype=model.decoder.dtype)
    return _fill(model, params, rows, image_embeds=image_embeds, cache=empty, method="prefill")


@functools.partial(jax.jit, static_argnames="model", donate_argnames="cache")
def extend(
    model: VLM, params: Params, rows: Rows, *, image_embeds: jax.Array, cache: kv_cache.KVCache
) -> tuple[jax.Array, kv_cache.KVCache]:
    """Returns (scores float32 [B, V] of the token after each row, the cache with the rows added).

    The cache that goes in is used up. A row without tokens is left as it is, and its scores mean nothing.
    """
    return _fill(model, params, rows, image_embeds=image_embeds, cache=cache, method="extend")


def _fill(
    model: VLM, params: Params, rows: Rows, *, image_embeds: jax.Array, cache: kv_cache.KVCache, method: str
) -> tuple[jax.Array, kv_cache.KVCache]:
    variables = {"params": params}
    embeds = model.apply(variables, rows["token_ids"], rows["image_token_index"], image_embeds, method="embed")
    positions = cache["lengths"][:, None] + jnp.arange(embeds.shape[1], dtype=jnp.int32)[None, :]
    hidden, cache = model.apply(variables, embeds, positions, rows["segment_ids"], kv_cache=cache, method=method)
    if method == "extend":
        # Only the last token of each row is asked: the head over all of them would cost more than the layers.
        hidden = last_tokens(hidden, rows["segment_ids"])
    return model.apply(variables, hidden, method="logits")[:, 0], cache


@functools.partial(jax.jit, static_argnames=("choose", "num_new_slots"), donate_argnames="cache")
def begin(
    choose: choosing.Choose,
    logits: jax.Array,
    cache: kv_cache.KVCache,
    *,
    prompt_ids: jax.Array | None,
    settings: choosing.Settings,
    num_new_slots: int,
) -> State:
    """Returns the state of the loop with the first token of each row chosen.

    Args:
      choose: A function of `choosing`.
      logits: From `prefill` or `extend`.
      cache: From the same call; used up.
      prompt_ids: int32 [B, P], the ids that the repetition penalty counts as said before, -1 = none. None: no row has a
        penalty, and nobody keeps book of what is said.
      settings: See `choosing`. A row with `max_new` 0 is done before it begins.
      num_new_slots: N, room for new tokens of a row; at least the largest `max_new`.

    Returns:
      kv_cache; token int32 [B], the newest token, not in the cache yet; new_tokens int32 [B, N] and num_new int32 [B];
      stop_state int32 [B]; done bool [B]; seen bool [B, V] if there are `prompt_ids`.
    """
    num_rows = logits.shape[0]
    state = {
        "kv_cache": cache,
        "token": jnp.zeros(num_rows, jnp.int32),
        "new_tokens": jnp.zeros((num_rows, num_new_slots), jnp.int32),
        "num_new": jnp.zeros(num_rows, jnp.int32),
        "stop_state": settings["stop_state"],
        "done": settings["max_new"] <= 0,
    }
    if prompt_ids is not None:
        state["seen"] = seen_tokens(prompt_ids, logits.shape[1])
    return _choose(choose, logits, state, settings=settings)


def seen_tokens(prompt_ids: jax.Array, vocab_size: int) -> jax.Array:
    """Returns bool [B, V], True for the token ids of a row of `prompt_ids` (-1 = none)."""
    ids = jnp.where(prompt_ids >= 0, prompt_ids, vocab_size)
    row = jnp.arange(ids.shape[0])[:, None]
    return jnp.zeros((ids.shape[0], vocab_size), bool).at[row, ids].set(True, mode="drop")


@functools.partial(jax.jit, static_argnames=("model", "choose"), donate_argnames="state")
def run(
    model: VLM,
    params: Params,
    state: State,
    *,
    choose: choosing.Choose,
    settings: choosing.Settings,
    num_steps: jax.Array,
) -> State:
    """Returns the state after up to `num_steps` more tokens of each row, earlier when every row is done.

    The state that goes in is used up. Rows that are done wait without changing: nothing is added to their cache.
    """

    def unfinished(carry: tuple[jax.Array, State]) -> jax.Array:
        step, state = carry
        return (step < num_steps) & ~state["done"].all()

    def advance(carry: tuple[jax.Array, State]) -> tuple[jax.Array, State]:
        step, state = carry
        logits, cache = next_logits(model, params, state["token"], live=~state["done"], cache=state["kv_cache"])
        return step + 1, _choose(choose, logits, {**state, "kv_cache": cache}, settings=settings)

    return jax.lax.while_loop(unfinished, advance, (jnp.int32(0), state))[1]


def next_logits(
    model: VLM, params: Params, token: jax.Array, *, live: jax.Array, cache: kv_cache.KVCache
) -> tuple[jax.Array, kv_cache.KVCache]:
    """Returns (scores float32 [B, V] after the newest token int32 [B] of each row, the cache that holds it).

    Of rows that are not `live` (bool [B]) nothing is kept, and their scores mean nothing.
    """
    variables = {"params": params}
    ids = token[:, None]
    embeds = model.apply(variables, ids, jnp.full_like(ids, -1), None, method="embed")
    segment_ids = live.astype(jnp.int32)[:, None]
    hidden, cache = model.apply(
        variables, embeds, cache["lengths"][:, None], segment_ids, kv_cache=cache, method="extend"
    )
    return model.apply(variables, hidden, method="logits")[:, 0], cache


def _choose(choose: choosing.Choose, logits: jax.Array, state: State, *, settings: choosing.Settings) -> State:
    seen = state.get("seen")
    scores = choosing.adjust(logits, settings, seen=seen, num_new=state["num_new"], stop_state=state["stop_state"])
    token = choose(scores, settings, state["num_new"])
    live = ~state["done"]
    num_new = state["num_new"] + live
    # Compared everywhere rather than written in one place for each row, which is a loop on a CPU.
    place = jnp.where(live, state["num_new"], -1)[:, None] == jnp.arange(state["new_tokens"].shape[1])
    stop_state, found = choosing.follow(state["stop_state"], token, settings)
    ended = choosing.is_stop(token, settings) | found | (num_new >= settings["max_new"])
    new = {
        "token": token,
        "new_tokens": jnp.where(place, token[:, None], state["new_tokens"]),
        "num_new": num_new,
        "stop_state": stop_state,
        "done": state["done"] | ended,
    }
    if seen is not None:
        new["seen"] = seen | (token[:, None] == jnp.arange(seen.shape[1]))
    return {**state, **new}


@functools.partial(jax.jit, static_argnames="model")
def score(
    model: VLM, params: Params, rows: Rows, *, image_embeds: jax.Array, decoder_ids: jax.Array | None = None
) -> jax.Array:
    """Returns float32 [B, T, V]: the scores of the next token after every token of whole rows, without a cache.

    Of an encoder-decoder model, the tokens are those of `decoder_ids` int32 [B, T], the start token first, and the rows
    are what the encoder reads.
    """
    variables = {"params": params}
    embeds = model.apply(variables, rows["token_ids"], rows["image_token_index"], image_embeds, method="embed")
    return model.apply(variables, embeds, rows["segment_ids"], decoder_ids=decoder_ids, method=_score)


def _score(model: VLM, embeds: jax.Array, segment_ids: jax.Array, *, decoder_ids: jax.Array | None) -> jax.Array:
    if decoder_ids is not None:
        return model.decoder.decode(decoder_ids, model.decoder.encode(embeds, segment_ids), segment_ids)
    positions = jnp.broadcast_to(jnp.arange(embeds.shape[1], dtype=jnp.int32), embeds.shape[:2])
    return model.decoder.logits(model.decoder.hidden(embeds, positions, segment_ids))
