"""A conversation: pictures, turns, and the tokens that the model is asked with."""

import dataclasses
from collections.abc import Generator, Iterator, Sequence

from m3it_jax import errors, schema
from m3it_jax.generation import streaming
from m3it_jax.generation.assistant import Assistant
from m3it_jax.generation.batching import Prepared
from m3it_jax.generation.pictures import Picture
from m3it_jax.generation.request import SamplingConfig, check_text
from m3it_jax.input_pipeline.rows import transforms


class Conversation:
    """Turns about pictures with one assistant.

    The model is asked with all pictures, the last `history` turns in the format's form one after another, then the new
    one (for Ying-VLM the form of the paper's Chinese prompt, arXiv 2306.04387, Table 10). A format with pictures inside
    its text shows each in the turn that it was given for, or in the first that is not forgotten. Pictures and turns
    that stay are computed once (`generation/session.py`).
    """

    def __init__(self, assistant: Assistant, *, history: int, sampling: SamplingConfig):
        """Begins an empty conversation.

        Args:
          assistant: Who answers.
          history: Most earlier turns that the model sees; 0 shows it the pictures and the new turn alone.
          sampling: How answers are decoded.

        Raises:
          ConfigError: beam search was asked for: its tokens are known only at the end.
        """
        if sampling.num_beams > 1:
            raise errors.ConfigError(f"num_beams={sampling.num_beams}: a conversation streams its answers; set it to 1")
        self._assistant, self._history, self._sampling = assistant, history, sampling
        self._session = assistant.session()
        self._pictures: list[Picture] = []
        # Each with its answer as tokens: text that is encoded anew may be cut into other pieces.
        self._turns: list[tuple[schema.Turn, tuple[int, ...]]] = []

    def __repr__(self) -> str:
        return (
            f"<Conversation of {len(self._turns)} turns about {self.num_pictures} pictures, with {self._assistant!r}>"
        )

    @property
    def num_pictures(self) -> int:
        """Pictures (and frames of videos) shown so far."""
        return len(self._pictures)

    def show(self, pictures: Sequence[Picture]) -> None:
        """Adds pictures for the turns that follow.

        Raises:
          UserError: one cannot be decoded, or they are too many for the model; then none is added.
        """
        size = self._assistant.sampler.model.vit.config.image_size
        for picture in pictures:
            picture.pixels(size)
        shown = [*self._pictures, *pictures]
        sampler = self._assistant.sampler
        cut = sampler.cut(shown, self._all_turns(schema.Turn(""), len(shown)))
        sampler.lay_out_turns([schema.Turn("", new_pictures=len(shown))], cut, self._sampling)
        self._pictures = shown

    def _all_turns(self, new: schema.Turn, num_pictures: int) -> list[schema.Turn]:
        """Returns the turns so far and a new one, which shows the pictures that none of them did."""
        told = [turn for turn, _ in self._turns]
        free = num_pictures - sum(turn.new_pictures for turn in told)
        return [*told, dataclasses.replace(new, new_pictures=free)]

    def replace(self, pictures: Sequence[Picture]) -> None:
        """Shows pictures in place of those before; the turns about those are forgotten.

        Raises:
          UserError: as `show`; then nothing changes.
        """
        before = self._pictures, self._turns
        self.clear()
        try:
            self.show(pictures)
        except errors.UserError:
            self._pictures, self._turns = before
            raise

    def clear(self) -> None:
        """Forgets pictures and turns."""
        self._pictures, self._turns = [], []

    def ask(self, instruction: str, inputs: str = "") -> Generator[str, None, None]:
        """Yields the pieces of the answer as they are made; joined and stripped they are the answer.

        Raises:
          ConfigError: the instruction is empty, or a text is no UTF-8.
          UserError: the turn alone does not fit into the model.
        """
        if not instruction.strip():
            raise errors.ConfigError("instruction: is empty; say what to do, for instance 'What is in the picture?'")
        for name, text in (("instruction", instruction), ("inputs", inputs)):
            check_text(name, text)
        sampler = self._assistant.sampler
        turn = self._all_turns(schema.Turn(instruction, inputs), self.num_pictures)[-1]
        new_ids: list[int] = []

        def tokens() -> Iterator[int]:
            shown = sampler.beside(self._pictures, instruction, inputs)
            for token in self._session.stream_row(self._asked(turn, shown)):
                new_ids.append(token)
                yield token

        yield from streaming.pieces(tokens(), sampler.tokenizer.decode, sampler.answer_format(self._sampling))
        self._turns.append((turn, self._answer_ids(new_ids)))

    def _asked(self, new: schema.Turn, shown: Sequence[Picture]) -> Prepared:
        """Returns the row of the turns that the model sees and the new one, about all pictures.

        Raises:
          UserError: the new turn alone does not fit into the model.
        """
        forgotten = max(len(self._turns) - self._history, 0)
        every = [*(turn for turn, _ in self._turns), new]
        shown, turns = self._assistant.sampler.cut(shown, every), transforms.without_oldest(every, forgotten)
        said = [ids for _, ids in self._turns[forgotten:]]
        return self._assistant.sampler.lay_out_turns(turns, shown, self._sampling, said=said)

    def _answer_ids(self, new_ids: Sequence[int]) -> tuple[int, ...]:
        """Returns an answer's tokens without what ended it."""
        sampler = self._assistant.sampler
        asked, tokenizer = sampler.answer_format(self._sampling), sampler.tokenizer
        ids = tuple(index for index in new_ids if index not in sampler.stop_ids)
        text = tokenizer.decode(ids)
        if asked.cut(text) == text:
            return ids
        return tuple(transforms.answer_ids(sampler.layout, tokenizer, asked.answer(text)))
