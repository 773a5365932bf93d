"""The cache of one conversation: what a new prompt shares with the last one is not computed again."""

from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from m3it_jax.generation import batching, decoding, kv_cache, streaming
from m3it_jax.generation.pictures import Picture
from m3it_jax.generation.request import SamplingConfig
from m3it_jax.generation.sampler import Sampler, choice

_truncate = jax.jit(kv_cache.truncate, donate_argnames="kv_cache")


class Session:
    """Answers one prompt after another, a token at a time; each prompt is given whole.

    The cache remembers which token or picture stands in each slot. The longest beginning that a new prompt has in
    common with it stays, so the pictures of a conversation and its earlier turns are computed once.
    """

    def __init__(self, sampler: Sampler):
        """Takes the sampler whose model and features are used."""
        self._sampler = sampler
        self._slots: list[Any] = []  # what stands in each slot of the cache: a token id, or (picture, query)
        self._cache: kv_cache.KVCache | None = None
        self.num_computed = 0  # tokens of prompts that went through the model

    def stream(self, prompt_ids: Sequence[int], shown: Sequence[Picture], sampling: SamplingConfig) -> Iterator[int]:
        """Returns the new token ids of the answer as they are made, the end mark included.

        Args:
          prompt_ids: All text so far, without the begin id.
          shown: All pictures so far.
          sampling: How to decode; `num_beams` must be 1.

        Raises:
          UserError: too long for the model, or a picture cannot be decoded.
          ValueError: beam search was asked for, which knows no token before the last.
        """
        return self.stream_row(self._sampler.lay_out(prompt_ids, shown, sampling))

    def stream_row(self, prepared: batching.Prepared) -> Iterator[int]:
        """Yields the same for a row that is laid out already."""
        sampler, sampling = self._sampler, prepared.sampling
        if sampling.num_beams > 1:
            raise ValueError(f"num_beams={sampling.num_beams}: a stream of tokens has one beam")
        slots = _slots(prepared, sampler.num_queries)
        rows, unique, num_pictures = batching.pack([prepared], sampler.num_queries)
        image_embeds = sampler.features.table(unique, num_pictures)
        settings = sampler.settings([sampling], num_rows=1)
        num_new_slots = batching.kind(sampling)[1]
        choose = choice([sampling])
        # The cache leaves `self` while it is used up and changed: an interrupted answer leaves no half-filled one.
        logits, cache = self._prefill(rows, slots, image_embeds=image_embeds, num_new_slots=num_new_slots)
        prompt_ids = sampler.counted_ids(rows, [sampling])
        state = decoding.begin(
            choose, logits, cache, prompt_ids=prompt_ids, settings=settings, num_new_slots=num_new_slots
        )

        def advance(state: decoding.State, num_steps: int) -> decoding.State:
            steps = np.int32(num_steps)
            return decoding.run(sampler.model, sampler.params, state, choose=choose, settings=settings, num_steps=steps)

        for tokens, end in streaming.groups(state, advance):
            slots += tokens
            if end and not sampler.start_ids:  # what an encoder made of a prompt is of no use to a longer one
                self._slots, self._cache = slots[:-1], end["kv_cache"]  # the newest token is in no slot yet
            yield from tokens

    def _prefill(
        self, rows: decoding.Rows, slots: Sequence[Any], *, image_embeds: np.ndarray, num_new_slots: int
    ) -> tuple[jax.Array, kv_cache.KVCache]:
        """Returns (scores after the prompt, cache with the prompt), computing only what the cache does not hold."""
        model, params = self._sampler.model, self._sampler.params
        cache, self._cache = self._cache, None
        shared = _common(self._slots, slots) if cache is not None else 0
        shared = min(shared, len(slots) - 1)  # the last token is computed in any case: its scores are wanted
        rest = {name: array[:, shared : len(slots)] for name, array in rows.items()}
        length = batching.length_bucket(len(slots) - shared)
        fill = {"image_token_index": -1}
        rest = {
            name: np.pad(array, ((0, 0), (0, length - array.shape[1])), constant_values=fill.get(name, 0))
            for name, array in rest.items()
        }
        self.num_computed += len(slots) - shared
        # The padding of the rest is written too, behind its last token.
        written = 0 if self._sampler.start_ids else shared + length
        needed = batching.length_bucket(max(written, self._sampler.slots(len(slots), num_new_slots)))
        if cache is None:
            return decoding.prefill(model, params, rest, image_embeds=image_embeds, num_slots=needed)
        cache = _truncate(cache, jnp.full(1, shared, jnp.int32))
        if needed > cache["segment_ids"].shape[1]:
            cache = kv_cache.grow(cache, needed)
        return decoding.extend(model, params, rest, image_embeds=image_embeds, cache=cache)


def _slots(prepared: batching.Prepared, num_queries: int) -> list[Any]:
    """Returns what stands in each slot of a row: a token id, or (key of the picture, number of the query)."""
    ids, index = prepared.row["token_ids"].tolist(), prepared.row["image_token_index"].tolist()
    keys = [picture.key for picture in prepared.pictures]
    return [
        token if place < 0 else (keys[place // num_queries], place % num_queries)
        for token, place in zip(ids, index, strict=True)
    ]


def _common(first: Sequence[Any], second: Sequence[Any]) -> int:
    """Returns how many elements two sequences have in common at their beginning."""
    count = 0
    for one, other in zip(first, second, strict=False):
        if one != other:
            break
        count += 1
    return count
