"""A conversation: pictures, turns, and the tokens that the model is asked with."""

import dataclasses
from collections.abc import Generator, Iterator, Sequence

from m3it_jax import errors
from m3it_jax.generation import streaming
from m3it_jax.generation.assistant import Assistant
from m3it_jax.generation.pictures import Picture
from m3it_jax.generation.request import SamplingConfig, check_text
from m3it_jax.input_pipeline import transforms


@dataclasses.dataclass(frozen=True)
class Turn:
    """What was asked about how many new pictures, and what was answered.

    The answer is kept as tokens: text that is encoded anew may be cut into other pieces.
    """

    instruction: str
    inputs: str
    num_pictures: int
    answer_ids: tuple[int, ...] = ()


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
        self._turns: list[Turn] = []

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
        self._ids([Turn("", "", len(shown))], shown)
        self._pictures = shown

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
        turn = Turn(instruction, inputs, self.num_pictures - sum(turn.num_pictures for turn in self._turns))
        new_ids: list[int] = []

        def tokens() -> Iterator[int]:
            shown = sampler.beside(self._pictures, instruction, inputs)
            for token in self._session.stream(self._fitted(turn), shown, self._sampling):
                new_ids.append(token)
                yield token

        yield from streaming.pieces(tokens(), sampler.tokenizer.decode, sampler.answer_format(self._sampling))
        self._turns.append(dataclasses.replace(turn, answer_ids=self._answer_ids(new_ids)))

    def _fitted(self, new: Turn) -> list[int]:
        """Returns the tokens of the turns so far and the new one; the oldest are left out if they do not fit."""
        kept = self._turns[len(self._turns) - min(self._history, len(self._turns)) :]
        for first in range(len(kept) + 1):
            turns = [*kept[first:], new]
            before = self.num_pictures - sum(turn.num_pictures for turn in turns)
            turns[0] = dataclasses.replace(turns[0], num_pictures=turns[0].num_pictures + before)
            try:
                return self._ids(turns, self._pictures)
            except errors.UserError:
                if first == len(kept):
                    raise
        raise AssertionError("the last round of the loop returns or raises")

    def _ids(self, turns: Sequence[Turn], pictures: Sequence[Picture]) -> list[int]:
        """Returns the tokens of turns about all pictures.

        Raises:
          UserError: they do not fit into the model.
        """
        sampler, ids = self._assistant.sampler, []
        for number, turn in enumerate(turns):
            ids += transforms.prompt_ids(
                sampler.layout,
                sampler.tokenizer,
                instruction=turn.instruction,
                inputs=turn.inputs,
                num_images=turn.num_pictures,
                is_first=number == 0,
            )
            ids += turn.answer_ids
        sampler.lay_out(ids, pictures, self._sampling)
        return ids

    def _answer_ids(self, new_ids: Sequence[int]) -> tuple[int, ...]:
        """Returns an answer's tokens without what ended it."""
        sampler = self._assistant.sampler
        asked, tokenizer = sampler.answer_format(self._sampling), sampler.tokenizer
        ids = tuple(index for index in new_ids if index not in sampler.stop_ids)
        text = tokenizer.decode(ids)
        if asked.cut(text) == text:
            return ids
        return tuple(tokenizer.encode(asked.answer_begin + asked.answer(text), "inside"))
