"""Text and pictures in, token ids out: requests are laid out, batched, run and given back in any order."""

import dataclasses
import operator
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from m3it_jax import errors, prompts, schema
from m3it_jax.generation import batching, beam_search, choosing, decoding, layered, pictures
from m3it_jax.generation.batching import Prepared
from m3it_jax.generation.features import FeatureStore
from m3it_jax.generation.request import Request, SamplingConfig, check_text
from m3it_jax.generation.stop_texts import StopTexts
from m3it_jax.input_pipeline.pixels import tiling
from m3it_jax.input_pipeline.rows import transforms
from m3it_jax.models.encoder_decoder import EncoderDecoder
from m3it_jax.models.vlm import VLM
from m3it_jax.tokenizer import Tokenizer


class Sampler:
    """A model, its parameters and its tokenizer, ready to answer."""

    def __init__(
        self,
        model: VLM,
        params: decoding.Params,
        tokenizer: Tokenizer,
        *,
        max_rows: int,
        prompt_format: prompts.PromptFormat = prompts.YING_VLM,
        image_token_id: int | None = None,
        qformer_tokenizer: Tokenizer | None = None,
        stop_ids: Sequence[int] = (),
        num_ids: int | None = None,
        tiles: int = 1,
    ):
        """Takes what answers are made of.

        Args:
          model: The model.
          params: Its parameters.
          tokenizer: Its vocabulary.
          max_rows: Most rows of one batch, counting each beam.
          prompt_format: How it is asked.
          image_token_id: Stands for each position of a picture in ids of the family's reference; None if it has none.
          qformer_tokenizer: Encodes what the Q-Former reads, if it reads text.
          stop_ids: Ids of which each ends an answer; none: the end id of the tokenizer.
          num_ids: Ids that may be chosen, from 0 on; None: those of the vocabulary.
          tiles: Most tiles that a large picture is cut into (`tiling`), as the model was trained; 1: none is cut.
        """
        self.model, self.params = layered.of(model, params)
        self.tokenizer, self.max_rows, self.image_token_id = tokenizer, max_rows, image_token_id
        self.num_ids = tokenizer.vocab_size if num_ids is None else num_ids
        self._qformer_tokenizer = qformer_tokenizer
        self.max_len = model.decoder.config.max_len
        self.num_queries = model.picture_len
        # What an encoder-decoder model begins to write with; the others write on in the row itself.
        language = model.decoder
        self.start_ids = (language.config.start_id,) if isinstance(language, EncoderDecoder) else ()
        self.layout = transforms.Layout.of(
            tokenizer,
            prompt_format,
            picture_len=self.num_queries,
            max_text_len=self.max_len,
            max_response_len=self.max_len,
            tiling=tiling.Tiling(tiles, model.vit.config.image_size),
        )
        self.features = FeatureStore(self.model, self.params)
        token_bytes = [tokenizer.token_bytes(index) for index in range(tokenizer.vocab_size)]
        self.stop_texts = StopTexts(token_bytes, model.decoder.config.vocab_size)
        self.stop_ids = tuple(stop_ids) or (tokenizer.eos_id,)

    def prepare(self, request: Request) -> Prepared:
        """Returns a request as tokens; its pictures are found but not decoded yet.

        Raises:
          ConfigError: more beams than rows that may be decoded together.
          UserError: a picture file is missing, or the prompt leaves no room in the model.
        """
        if request.sampling.num_beams > self.max_rows:
            raise errors.ConfigError(
                f"num_beams={request.sampling.num_beams}: at most {self.max_rows} rows are decoded together; lower it, "
                "or load the model with a larger max_rows"
            )
        shown = self.beside(pictures.read_all(request.images, request.video), request.instruction, request.inputs)
        turns = request.conversation(len(shown))
        shown = self.cut(shown, turns)
        if request.answer_begin and self.start_ids:
            raise errors.ConfigError("answer_begin: an encoder-decoder model cannot be given one; leave it out")
        begin = request.answer_begin and transforms.answer_ids(self.layout, self.tokenizer, request.answer_begin)
        return self.lay_out_turns(turns, shown, request.sampling, system=request.system, begin=begin or ())

    def cut(self, shown: Sequence[pictures.Picture], turns: Sequence[schema.Turn]) -> Sequence[pictures.Picture]:
        """Returns the pictures of turns, each with how it is cut; all turns count, those that are forgotten later too.

        Raises:
          UserError: one is no picture, which only a model with tiles has to know so early.
        """
        if self.layout.tiling.most == 1:
            return shown
        cuts = tiling.alone(turns, lambda number: shown[number].alone(self.layout.tiling))
        return [dataclasses.replace(picture, cut=cut) for picture, cut in zip(shown, cuts, strict=True)]

    def beside(
        self, shown: Sequence[pictures.Picture], instruction: str, inputs: str = ""
    ) -> Sequence[pictures.Picture]:
        """Returns the pictures beside what is asked about them, where the Q-Former reads it; else as they are.

        Raises:
          UserError: the Q-Former reads text and its vocabulary is missing.
        """
        config = self.model.qformer.config if self.model.qformer is not None else None
        if config is None or not config.text_vocab_size:
            return shown
        if self._qformer_tokenizer is None:
            raise errors.UserError(
                "qformer_tokenizer.json: is missing in the checkpoint's folder, and this Q-Former reads the question; "
                "import the weights from a folder that has it"
            )
        text = self.layout.format.prompt(instruction, inputs)
        ids = transforms.qformer_text(self._qformer_tokenizer, text)["text_ids"]
        if len(ids) > config.text_max_len:
            ids = transforms.qformer_text(self._qformer_tokenizer, text, config.text_max_len)["text_ids"]
        return [picture.beside(ids.tolist()) for picture in shown]

    def lay_out_turns(
        self,
        turns: Sequence[schema.Turn],
        shown: Sequence[pictures.Picture],
        sampling: SamplingConfig,
        *,
        system: str = "",
        said: Sequence[Sequence[int]] | None = None,
        begin: Sequence[int] = (),
    ) -> Prepared:
        """Returns the row of a conversation whose last turn is to be answered; the oldest turns go if all do not fit.

        Args:
          turns: As `transforms.lay_out` takes them; their pictures are `shown`.
          shown: All pictures, as `cut` returns them.
          sampling: How the answer is decoded.
          system: As `transforms.lay_out` takes it.
          said: As `transforms.lay_out` takes it.
          begin: Tokens that the answer begins with.

        Raises:
          UserError: the last turn alone does not fit into the model.
        """
        for first in range(len(turns)):
            kept = transforms.without_oldest(turns, first)
            left = None if said is None else said[first:]
            text = transforms.lay_out(self.layout, self.tokenizer, kept, system=system, said=left)
            try:
                return self.lay_out([*text.prompt_ids, *begin], shown, sampling)
            except errors.UserError:
                if first == len(turns) - 1:
                    raise
        raise AssertionError("the last round of the loop returns or raises")

    def lay_out(
        self, prompt_ids: Sequence[int], shown: Sequence[pictures.Picture], sampling: SamplingConfig
    ) -> Prepared:
        """Returns a row of pictures and a prompt that is tokens already, PICTURE where one stands inside the text.

        Raises:
          UserError: pictures, prompt and the wanted new tokens together are longer than the model.
        """
        row = self._row(prompt_ids, [], shown)
        length = len(row["token_ids"])
        if max(length, self.slots(length, sampling.max_new_tokens)) > self.max_len:
            raise errors.UserError(
                f"{self._too_long(length, shown)} and max_new_tokens={sampling.max_new_tokens} are more than the "
                f"model's {self.max_len} tokens; {self._advice(shown, sampling.max_new_tokens)}"
            )
        return Prepared(row, pictures.parts(shown), sampling)

    def _row(
        self, prompt_ids: Sequence[int], response_ids: Sequence[int], shown: Sequence[pictures.Picture]
    ) -> dict[str, np.ndarray]:
        text = transforms.Text(list(prompt_ids), list(response_ids), num_dropped=0)
        return transforms.make_row(self.layout, text, num_images=len(shown), slots=pictures.slots(shown))

    def _too_long(self, length: int, shown: Sequence[pictures.Picture]) -> str:
        block, slots = self.layout.pictures_len(pictures.slots(shown)), sum(pictures.slots(shown))
        tiles = f" in {slots} tiles and overviews" if slots > len(shown) else ""
        return f"{len(shown)} pictures{tiles} ({block} tokens), {length - block} tokens of text"

    def _advice(self, shown: Sequence[pictures.Picture], num_new: int) -> str:
        if num_new >= self.max_len:
            return f"lower max_new_tokens to less than {self.max_len}"
        slots = pictures.slots(shown)
        smaller = "fewer or smaller pictures" if sum(slots) > len(slots) else "fewer pictures"
        if self.layout.pictures_len(slots) > self.max_len - num_new:
            return f"give {smaller}"
        fewer = f", give {smaller}" if shown else ""
        return f"shorten the text{fewer}{' or lower max_new_tokens' if num_new else ''}"

    def answers(self, requests: Sequence[Prepared]) -> Iterator[tuple[int, list[int]]]:
        """Yields (number of the request, its new token ids, the end mark included), a batch at a time.

        Raises:
          UserError: a picture cannot be decoded.
        """
        waiting: tuple[list[int], Any] | None = None
        for numbers in batching.plan(requests, self.max_rows):
            # The device works on one batch while the host decodes and lays out the next.
            started = numbers, self._start([requests[number] for number in numbers])
            if waiting is not None:
                yield from _finished(*waiting)
            waiting = started
        if waiting is not None:
            yield from _finished(*waiting)

    def _start(self, requests: Sequence[Prepared]) -> tuple[jax.Array, jax.Array]:
        """Returns (new_tokens [B, N], num_new [B]) of a batch, still being computed."""
        rows, shown, num_slots = batching.pack(requests, self.num_queries)
        image_embeds = self.features.table(shown, num_slots)
        samplings = [request.sampling for request in requests]
        num_rows, length = rows["token_ids"].shape
        settings = self.settings(samplings, num_rows)
        num_beams, num_new_slots = batching.kind(samplings[0])
        slots = self.slots(length, num_new_slots)
        logits, cache = decoding.prefill(self.model, self.params, rows, image_embeds=image_embeds, num_slots=slots)
        shape = {
            "prompt_ids": self.counted_ids(rows, samplings),
            "settings": settings,
            "num_new_slots": num_new_slots,
        }
        if num_beams > 1:
            return beam_search.search(self.model, self.params, logits, cache=cache, num_beams=num_beams, **shape)
        choose = choice(samplings)
        state = decoding.begin(choose, logits, cache, **shape)
        state = decoding.run(
            self.model, self.params, state, choose=choose, settings=settings, num_steps=np.int32(num_new_slots)
        )
        return state["new_tokens"], state["num_new"]

    def slots(self, length: int, num_new_slots: int) -> int:
        """Returns the slots of a cache for rows of `length` tokens and so many new ones."""
        return (len(self.start_ids) or length) + num_new_slots

    def settings(self, samplings: Sequence[SamplingConfig], num_rows: int) -> choosing.Settings:
        """Returns the settings of a batch of `num_rows` rows, those beyond the requests done at once."""
        stops = [self.answer_format(sampling).stops for sampling in samplings] + [()] * (num_rows - len(samplings))
        return batching.settings(
            samplings,
            num_rows=num_rows,
            stop_ids=self.stop_ids,
            num_ids=self.num_ids,
            stops=self.stop_texts.settings(stops),
        )

    def answer_format(self, sampling: SamplingConfig) -> prompts.PromptFormat:
        """Returns the format with the request's own stop texts beside the family's: how its answer is cut."""
        own = self.layout.format
        return dataclasses.replace(own, stops=(*own.stops, *sampling.stop))

    def counted_ids(self, rows: decoding.Rows, samplings: Sequence[SamplingConfig]) -> np.ndarray | None:
        """Returns what a repetition penalty counts as said before, for `decoding.begin`; None if no row has one.

        As `generate` of the reference's models counts it: the text and the placeholders of pictures; of an
        encoder-decoder model, the start token of what it writes. Padding never counts.
        """
        if all(sampling.repetition_penalty == 1 for sampling in samplings):
            return None
        if self.start_ids:
            return np.full((len(rows["token_ids"]), 1), self.start_ids[0], np.int32)
        placeholder = -1 if self.image_token_id is None else self.image_token_id
        ids = np.where(rows["image_token_index"] >= 0, placeholder, rows["token_ids"])
        return np.where(rows["segment_ids"] > 0, ids, -1)

    def token_logits(
        self,
        row: dict[str, np.ndarray],
        shown: Sequence[pictures.Picture],
        decoder_ids: Sequence[int] | None = None,
    ) -> np.ndarray:
        """Returns float32 [T, V]: the scores of the next token after every token of a row.

        Args:
          row: From `transforms`; what the encoder reads, if the model has one.
          shown: Its pictures.
          decoder_ids: What an encoder-decoder model writes, the start token first: the T scores are those after each of
            them. None: the start token alone. No other model takes them.

        Raises:
          UserError: the row is longer than the model, or a picture cannot be decoded; or `decoder_ids` do not belong to
            the model.
        """
        length = len(row["token_ids"])
        if length > self.max_len:
            raise errors.UserError(
                f"{self._too_long(length, shown)} are more than the model's {self.max_len} tokens; "
                f"{self._advice(shown, 0)}"
            )
        written = list(self.start_ids if decoder_ids is None else decoder_ids)
        if bool(written) != bool(self.start_ids) or len(written) > self.max_len:
            wanted = f"1 to {self.max_len}, of which the first is {self.start_ids[0]}" if self.start_ids else "none"
            raise errors.UserError(f"decoder_ids: {len(written)} ids, the model takes {wanted}")
        rows, unique, num_slots = batching.pack(
            [Prepared(row, pictures.parts(shown), SamplingConfig())], self.num_queries
        )
        image_embeds = self.features.table(unique, num_slots)
        padded = None
        if written:  # what follows the ids changes nothing before it
            padded = np.zeros((1, batching.length_bucket(len(written))), np.int32)
            padded[0, : len(written)] = written
        scores = decoding.score(self.model, self.params, rows, image_embeds=image_embeds, decoder_ids=padded)
        return np.asarray(scores)[0, : len(written) or length]

    def log_likelihood(self, request: Request, response: str) -> float:
        """Returns the sum of log p of the response's tokens, its newline and end id included, after the prompt.

        These are the tokens that training counts, so no response is favoured for being the beginning of another.

        Raises:
          ConfigError: the response is no text.
          UserError: see `token_logits`; a picture file is missing; or the scores are no numbers.
        """
        check_text("response", response)
        shown = self.beside(pictures.read_all(request.images, request.video), request.instruction, request.inputs)
        response_ids = transforms.response_ids(self.layout, self.tokenizer, response)
        turns = request.conversation(len(shown))
        shown = self.cut(shown, turns)
        prompt_ids = transforms.lay_out(self.layout, self.tokenizer, turns, system=request.system).prompt_ids
        if self.start_ids:
            written = [*self.start_ids, *response_ids[:-1]]
            before = self.token_logits(self._row(prompt_ids, [], shown), shown, written)
        else:
            row = self._row(prompt_ids, response_ids, shown)
            before = self.token_logits(row, shown)[-len(response_ids) - 1 : -1]
        if not np.isfinite(before).all():
            raise errors.UserError(
                "the model's scores are no finite numbers, so its weights or a picture given as numbers are damaged; "
                "`m3it weights verify` or the run's metrics.jsonl say where they went wrong"
            )
        highest = before.max(axis=-1, keepdims=True)
        log_sums = highest[:, 0] + np.log(np.exp(before - highest).sum(axis=-1))
        return float((before[np.arange(len(response_ids)), response_ids] - log_sums).sum())

    def logits(
        self,
        images: Sequence[Any],
        token_ids: Sequence[int],
        decoder_ids: Sequence[int] | None = None,
        *,
        qformer_text: str = "",
    ) -> np.ndarray:
        """Returns float32 [T, V] for pictures and exactly these token ids (begin and end ids included).

        A Q-Former that reads text reads `qformer_text`. Pictures stand where the ids have the family's image
        placeholders. Ids without any follow the pictures' blocks, if the family has its pictures first.

        Raises:
          UserError: an id is outside the vocabulary, or the placeholders do not fit the pictures; or as `token_logits`.
        """
        ids = self._checked_ids("token_ids", token_ids)
        written = None if decoder_ids is None else self._checked_ids("decoder_ids", decoder_ids)
        shown = self.beside(pictures.read(images), qformer_text)
        shown = self.cut(shown, [schema.Turn("", new_pictures=len(shown))])
        row = transforms.given_row(self.layout, ids, slots=pictures.slots(shown), image_token_id=self.image_token_id)
        if not len(row["token_ids"]):
            raise errors.UserError("token_ids: is empty and there is no picture; give at least the begin id")
        return self.token_logits(row, shown, written)

    def _checked_ids(self, name: str, given: Sequence[int]) -> list[int]:
        """Returns ids as whole numbers.

        Raises:
          UserError: they are none, or one is outside the vocabulary.
        """
        try:
            ids = [operator.index(index) for index in given]
        except TypeError as error:
            raise errors.UserError(f"{name}: must be a list of whole numbers ({error})") from error
        vocab_size = self.model.decoder.config.vocab_size
        for index in ids:
            if not 0 <= index < vocab_size and index != self.image_token_id:
                raise errors.UserError(f"{name}: {index} is no id of the vocabulary, which has 0 to {vocab_size - 1}")
        return ids


def choice(samplings: Sequence[SamplingConfig]) -> choosing.Choose:
    """Returns how tokens are chosen in a batch: drawing costs a sort of the vocabulary, so only where one row draws."""
    return choosing.sample if any(sampling.temperature > 0 for sampling in samplings) else choosing.greedy


def _finished(numbers: Sequence[int], arrays: tuple[jax.Array, jax.Array]) -> Iterator[tuple[int, list[int]]]:
    new_tokens, num_new = jax.device_get(arrays)
    for place, number in enumerate(numbers):
        yield number, new_tokens[place, : num_new[place]].tolist()
