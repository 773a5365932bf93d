"""Answers that join and leave between steps: continuous batching with one shape for whatever comes.

A turn of `Scheduler.step` does a little of each kind of work, so that none waits long for another:

    waiting -> a row of the cache is free      fair between owners
    encode  -> one call of the vision tower    pictures of several answers together, known ones not at all
    fill    -> blocks of prompts               beginnings that are known are copied from the pool
    step    -> a few tokens of every live row  few while others wait to join

Every program has one shape, and a row's numbers do not depend on what stands in the others, so an answer is the same
bits alone or beside any others (models/slots.py). `warm_up` compiles all of them.
"""

import collections
import time
from collections.abc import Hashable

import jax
import numpy as np

from m3it_jax import errors
from m3it_jax.generation import batching, prefix_blocks, slot_cache, slot_programs
from m3it_jax.generation.answers import Answer
from m3it_jax.generation.batching import Prepared
from m3it_jax.generation.features import FeatureStore
from m3it_jax.generation.pictures import Picture
from m3it_jax.generation.sampler import Sampler
from m3it_jax.generation.streaming import Text

# Seconds of prompts between two calls of `step` while answers are read: what a reader may notice, and no more.
_FILL_SECONDS = 0.05
_STEP_SECONDS = 0.03  # of one call of `step`, as far as MOST_STEPS allows
_STEPS_BESIDE = 2  # tokens of a call while others wait to join

# Pictures of one call of the vision tower, always so many. Accelerators take several in the time of one; on a CPU each
# costs what it costs, and a call filled up with copies would cost more than it saves.
_PICTURES = {"cpu": 1}
_PICTURES_ELSEWHERE = 4

_SETTINGS = ("max_new", "min_new", "temperature", "top_k", "top_p", "seed")


class Scheduler:
    """Makes answers in the rows of one cache. One thread calls it.

    Attributes:
      num_rows: Answers that are made at once.
      features: The encoded pictures.
      num_filled: Tokens of prompts that went through the model.
      num_shared: Tokens of prompts that were copied from the pool.
      num_steps: Steps of the decoder, each over all rows.
    """

    def __init__(
        self,
        sampler: Sampler,
        *,
        num_rows: int,
        num_slots: int | None = None,
        pool_bytes: int = 256 << 20,
        feature_bytes: int = 256 << 20,
    ):
        """Takes what answers are made of.

        Args:
          sampler: Its model must be a decoder-only one.
          num_rows: B.
          num_slots: Tokens that a row has room for, prompt and answer; None: as many as the model was made for.
          pool_bytes: Memory for beginnings of prompts that are kept, on the device.
          feature_bytes: Memory for encoded pictures that are kept, on the host.

        Raises:
          UserError: the model has an encoder for the text.
        """
        if sampler.start_ids:
            raise errors.UserError(
                "this is an encoder-decoder model, whose prompts are read by an encoder and not by rows of a cache; "
                "it can be used with m3it generate, chat and eval"
            )
        self.sampler, self.num_rows = sampler, num_rows
        config = sampler.model.decoder.config
        self.num_slots = min(num_slots or config.max_len, config.max_len)
        self._num_blocks = pool_bytes // slot_cache.block_bytes(config, sampler.model.decoder.dtype)
        self._make_memory()
        self._most_blocks = sum(slot_cache.levels(self.num_slots)) // slot_cache.BLOCK
        self._num_pictures = _PICTURES.get(jax.default_backend(), _PICTURES_ELSEWHERE)
        self.features = FeatureStore(
            sampler.model, sampler.params, max_bytes=feature_bytes, chunks=(self._num_pictures,)
        )
        stops = sampler.stop_texts.settings([sampler.layout.format.stops])
        self._first_stop_state = int(stops["stop_state"][0])
        shared = {
            "stop_ids": np.array(sampler.stop_ids, np.int32),
            "num_ids": np.array(sampler.num_ids, np.int32),
            "stop_table": stops["stop_table"],
        }
        self._shared = jax.device_put(shared)
        self._rows = self._empty_rows()
        self._in_row: list[Answer | None] = [None] * num_rows
        self._waiting: collections.OrderedDict[Hashable, collections.deque[Answer]] = collections.OrderedDict()
        self._seconds_a_step = _STEP_SECONDS
        self.num_filled = self.num_shared = self.num_steps = 0

    def _make_memory(self) -> None:
        config, dtype = self.sampler.model.decoder.config, self.sampler.model.decoder.dtype
        self._cache = slot_cache.make(config, num_rows=self.num_rows, num_slots=self.num_slots, dtype=dtype)
        # At least one block, since no array is empty; with no memory for it nothing is found or kept.
        self._pool = slot_cache.make_pool(config, num_blocks=max(self._num_blocks, 1), dtype=dtype)
        self._kept = prefix_blocks.PrefixBlocks(self._num_blocks)

    def start_anew(self, error: Exception) -> list[Answer]:
        """Ends every answer that has a row with this error, after a program failed and took its arrays with it."""
        failed = [self._fail(answer, error) for answer in self._in_row if answer is not None]
        self._make_memory()
        return failed

    def __repr__(self) -> str:
        return f"<Scheduler of {self.num_rows} rows, {self.num_running} running, {self.num_waiting} waiting>"

    @property
    def num_waiting(self) -> int:
        """Answers without a row."""
        return sum(map(len, self._waiting.values()))

    @property
    def num_running(self) -> int:
        """Answers with a row."""
        return sum(answer is not None for answer in self._in_row)

    @property
    def is_busy(self) -> bool:
        """Whether there is anything to do."""
        return bool(self._waiting) or any(answer is not None for answer in self._in_row)

    def submit(self, prepared: Prepared, *, owner: Hashable = None, num_best: int | None = None) -> Answer:
        """Returns an answer that waits for its turn.

        Args:
          prepared: From `Sampler.prepare`; beam search and repetition penalties are not made here.
          owner: Owners take turns, whatever each has waiting.
          num_best: See `Answer`; at most 20.

        Raises:
          ValueError: what is asked for is not made here.
          UserError: longer than a row.
        """
        sampling = prepared.sampling
        if sampling.num_beams > 1 or sampling.repetition_penalty != 1:
            raise ValueError("the scheduler makes neither beams nor repetition penalties")
        if prepared.length + sampling.max_new_tokens > self.num_slots:
            raise errors.UserError(
                f"{prepared.length} tokens of prompt and max_new_tokens={sampling.max_new_tokens} are more than the "
                f"{self.num_slots} tokens that an answer has room for"
            )
        text = Text(self.sampler.tokenizer.decode, self.sampler.answer_format(sampling))
        answer = Answer(prepared, text, owner=owner, num_best=num_best)
        answer.block_keys = prefix_blocks.keys(prepared, self.sampler.num_queries)
        self._waiting.setdefault(owner, collections.deque()).append(answer)
        return answer

    def cancel(self, answer: Answer) -> None:
        """Ends an answer where it is; its row is free for the next one at once."""
        if answer.finish:
            return
        if answer.row < 0:
            self._waiting[answer.owner].remove(answer)
            if not self._waiting[answer.owner]:
                del self._waiting[answer.owner]
        self._finish(answer, "cancelled")

    def step(self) -> list[Answer]:
        """Does one turn of all kinds of work and returns the answers that have changed."""
        self._admit()
        changed = self._encode()
        self._fill()
        return changed + self._decode()

    def warm_up(self) -> None:
        """Compiles every program that `step` will ever call."""
        size, qformer = self.sampler.model.vit.config.image_size, self.sampler.model.qformer
        text_lens = [0]
        if qformer is not None and qformer.config.text_vocab_size:
            most = qformer.config.text_max_len
            text_lens = sorted({batching.length_bucket(length) for length in range(1, most + 1)})
        for number, length in enumerate(text_lens):
            blank = Picture(f"warm-up {number}", "warm-up", np.zeros((size, size, 3), np.uint8), (0,) * length)
            self.features.table([blank], 1)
        answer = self.submit(self._blank(3 * slot_cache.BLOCK))
        again = self.submit(self._blank(3 * slot_cache.BLOCK))  # its blocks are copied from the pool
        while not (answer.finish and again.finish):
            self.step()
        self._cache = slot_programs.clear(self._cache, np.int32(0))
        self._seconds_a_step = _STEP_SECONDS
        self.num_filled = self.num_shared = self.num_steps = 0

    def _blank(self, length: int) -> Prepared:
        length = min(length, self.num_slots - 2)
        row = {"token_ids": np.zeros(length, np.int32), "image_token_index": np.full(length, -1, np.int32)}
        return Prepared(row, (), batching.SamplingConfig(max_new_tokens=2))

    def _empty_rows(self) -> dict[str, np.ndarray]:
        kinds = {"live": bool, "is_scored": bool, "temperature": np.float32, "top_p": np.float32, "seed": np.uint32}
        names = ("token", "position", "num_new", "stop_state", "live", "is_scored", *_SETTINGS)
        return {name: np.zeros(self.num_rows, kinds.get(name, np.int32)) for name in names}

    def _admit(self) -> None:
        """Gives free rows to waiting answers, one of each owner in turn."""
        for row, holder in enumerate(self._in_row):
            if not self._waiting:
                return
            if holder is None:
                owner, waiting = self._waiting.popitem(last=False)
                answer = waiting.popleft()
                if waiting:
                    self._waiting[owner] = waiting  # behind the others
                answer.row, self._in_row[row] = row, answer

    def _admitted(self) -> list[Answer]:
        """Returns the answers whose prompts are not in the cache yet."""
        return [answer for answer in self._in_row if answer is not None and not self._rows["live"][answer.row]]

    def _encode(self) -> list[Answer]:
        """Encodes pictures of one call, and gives known ones out; returns the answers whose pictures cannot be read."""
        waiting = [answer for answer in self._admitted() if not answer.is_encoded]
        asked = {p.key: p for answer in waiting for p in answer.prepared.pictures if p.key not in answer.embeds}
        missing = [picture for picture in asked.values() if picture not in self.features][: self._num_pictures]
        wanted = [picture for picture in asked.values() if picture in self.features] + missing
        if not wanted:
            return []
        try:
            table = self.features.table(wanted, len(wanted))
        except errors.UserError as error:
            keys = {picture.key for picture in missing}
            bad = [answer for answer in waiting if any(p.key in keys for p in answer.prepared.pictures)]
            return [self._fail(answer, error) for answer in bad]
        found = {picture.key: embeds for picture, embeds in zip(wanted, table, strict=True)}
        for answer in waiting:
            answer.embeds |= {p.key: found[p.key] for p in answer.prepared.pictures if p.key in found}
        return []

    def _fill(self) -> None:
        """Puts blocks of prompts into the cache, for a while if answers are read meanwhile, else until one is ready."""
        began, is_read = time.perf_counter(), bool(self._rows["live"].any())
        for answer in self._admitted():
            while answer.is_encoded and not answer.is_filled:
                if (is_read or self._rows["live"].any()) and time.perf_counter() - began > _FILL_SECONDS:
                    return
                self._fill_block(answer)
            if answer.is_encoded:
                self._begin(answer)

    def _fill_block(self, answer: Answer) -> None:
        """Copies the next blocks of a prompt from the pool, or computes one."""
        block, row = slot_cache.BLOCK, np.int32(answer.row)
        number = answer.num_filled // block
        known = self._kept.find(answer.block_keys[number:])
        if known:
            blocks = np.zeros(self._most_blocks, np.int32)
            blocks[number : number + len(known)] = known
            part = {"blocks": blocks, "row": row, "start": np.int32(number), "count": np.int32(len(known))}
            self._cache = slot_programs.restore(self._cache, self._pool, **part)
            answer.num_filled += block * len(known)
            answer.num_shared += block * len(known)
            self.num_shared += block * len(known)
            return
        start = answer.num_filled
        stop = min(start + block, answer.prepared.length - 1)
        token_ids, is_shown = np.zeros(block, np.int32), np.zeros(block, bool)
        token_ids[: stop - start] = answer.prepared.row["token_ids"][start:stop]
        is_shown[: stop - start] = answer.prepared.row["image_token_index"][start:stop] >= 0
        decoder = self.sampler.model.decoder
        shown = np.zeros((block, decoder.config.embed_dim), decoder.dtype)
        if is_shown.any():
            shown[: stop - start] = answer.shown(start, stop)
        is_whole = number < len(answer.block_keys)
        self._cache, self._pool = jax.block_until_ready(
            slot_programs.fill(
                self.sampler.model,
                self.sampler.params,
                cache=self._cache,
                pool=self._pool,
                token_ids=token_ids,
                shown=shown,
                is_shown=is_shown,
                row=row,
                position=np.int32(start),
                block=np.int32(self._kept.take(answer.block_keys[number]) if is_whole else max(self._num_blocks, 1)),
            )
        )
        answer.num_filled = stop
        self.num_filled += stop - start

    def _begin(self, answer: Answer) -> None:
        """Makes a filled row live: its prompt's last token is the first that the next step takes."""
        sampling, length = answer.prepared.sampling, answer.prepared.length
        values = {
            "token": answer.prepared.row["token_ids"][length - 1],
            "position": length - 1,
            "num_new": 0,
            "stop_state": self._first_stop_state,
            "live": True,
            "is_scored": answer.num_best is not None,
            "max_new": sampling.max_new_tokens,
            "min_new": sampling.min_new_tokens,
            "temperature": sampling.temperature,
            "top_k": sampling.top_k,
            "top_p": sampling.top_p,
            "seed": sampling.seed & 0xFFFFFFFF,
        }
        for name, value in values.items():
            self._rows[name][answer.row] = value

    def _decode(self) -> list[Answer]:
        """Makes tokens of every live row and returns their answers."""
        live = [answer for answer in self._in_row if answer is not None and self._rows["live"][answer.row]]
        if not live:
            return []
        num_steps = max(1, min(int(_STEP_SECONDS / self._seconds_a_step), slot_programs.MOST_STEPS))
        if self._admitted():
            num_steps = min(num_steps, _STEPS_BESIDE)
        if self._waiting:  # a row that ends within the call would stand empty
            num_steps = min(num_steps, *(answer.num_left for answer in live), num_steps)
        began = time.perf_counter()
        self._cache, out = slot_programs.step(
            self.sampler.model,
            self.sampler.params,
            cache=self._cache,
            rows=self._rows,
            shared=self._shared,
            num_steps=np.int32(num_steps),
        )
        names = ["tokens", "made", "stop_state", "is_finite"]
        if any(answer.num_best is not None for answer in live):
            names += ["scores", "best", "best_scores"]
        found = jax.device_get({name: out[name] for name in names})
        num_made = max(int(found["made"].any(axis=1).sum()), 1)
        self._seconds_a_step = (time.perf_counter() - began) / num_made
        self.num_steps += num_made
        self._rows["stop_state"] = np.array(found["stop_state"])
        for answer in live:
            self._read(answer, {name: array for name, array in found.items() if name != "stop_state"})
        return live

    def _read(self, answer: Answer, found: dict[str, np.ndarray]) -> None:
        """Takes what a call has made of an answer."""
        row = answer.row
        if not found["is_finite"][row]:
            self._cache = slot_programs.clear(self._cache, np.int32(row))
            self._fail(answer, errors.UserError("the model's scores are no finite numbers; its weights are damaged"))
            return
        count = int(found["made"][:, row].sum())
        tokens = found["tokens"][:count, row].tolist()
        answer.tokens += tokens
        if "scores" in found:
            answer.keep_scores(*(found[name][:count, row] for name in ("scores", "best", "best_scores")))
        self._rows["token"][row] = tokens[-1]
        self._rows["position"][row] += count
        self._rows["num_new"][row] += count
        answer.said += answer.text.add(index for index in tokens if index not in self.sampler.stop_ids)
        if answer.text.is_cut or tokens[-1] in self.sampler.stop_ids:
            self._finish(answer, "stop")
        elif answer.num_left <= 0:
            self._finish(answer, "length")

    def _finish(self, answer: Answer, reason: str) -> None:
        answer.said += answer.text.end()
        answer.finish = reason
        if answer.row >= 0:
            self._rows["live"][answer.row] = False
            self._in_row[answer.row] = None

    def _fail(self, answer: Answer, error: Exception) -> Answer:
        answer.error = error
        self._finish(answer, "error")
        return answer
