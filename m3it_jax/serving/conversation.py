"""A conversation: pictures, turns, and the tokens that the model is asked with."""

import dataclasses
from collections.abc import Iterator, Sequence

from m3it_jax import errors, prompts
from m3it_jax.generation.assistant import Assistant
from m3it_jax.generation.pictures import Picture
from m3it_jax.generation.request import SamplingConfig, check_text

_BROKEN = "\ufffd"  # what an unfinished character of several byte pieces decodes to


@dataclasses.dataclass(frozen=True)
class Turn:
    """What was asked and what was answered, as tokens: text that is encoded anew may be cut into other pieces."""

    prompt_ids: tuple[int, ...]
    answer_ids: tuple[int, ...]


class Conversation:
    """Turns about pictures with one assistant.

    The model is asked with all pictures, then the last `history` turns in the template's form one after another, then
    the new one (the form of the paper's Chinese prompt, arXiv 2306.04387, Table 10). Pictures and turns that stay are
    computed once (`generation/session.py`).
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
        self._assistant.sampler.lay_out([], shown, self._sampling)
        self._pictures = shown

    def clear(self) -> None:
        """Forgets pictures and turns."""
        self._pictures, self._turns = [], []

    def ask(self, instruction: str, inputs: str = "") -> Iterator[str]:
        """Yields the pieces of the answer as they are made; joined and stripped they are the answer.

        Raises:
          ConfigError: the instruction is empty, or a text is no UTF-8.
          UserError: the turn alone does not fit into the model.
        """
        if not instruction.strip():
            raise errors.ConfigError("instruction: is empty; say what to do, for instance 'What is in the picture?'")
        for name, text in (("instruction", instruction), ("inputs", inputs)):
            check_text(name, text)
        tokenizer = self._assistant.sampler.tokenizer
        prompt_ids = tuple(tokenizer.encode(prompts.prompt(instruction, inputs)))
        new_ids: list[int] = []
        said = ""
        for token in self._session.stream(self._fitted(prompt_ids), self._pictures, self._sampling):
            new_ids.append(token)
            text = tokenizer.decode(new_ids).split("\n", 1)[0]
            if text.startswith(said) and not text.endswith(_BROKEN):
                yield text[len(said) :]
                said = text
        self._turns.append(Turn(prompt_ids, self._closed(new_ids)))

    def _fitted(self, prompt_ids: Sequence[int]) -> list[int]:
        """Returns the tokens of the turns so far and the new one; the oldest are left out if they do not fit."""
        sampler = self._assistant.sampler
        turns = self._turns[len(self._turns) - min(self._history, len(self._turns)) :]
        for first in range(len(turns) + 1):
            ids = [index for turn in turns[first:] for index in (*turn.prompt_ids, *turn.answer_ids)]
            ids += prompt_ids
            try:
                sampler.lay_out(ids, self._pictures, self._sampling)
            except errors.UserError:
                if first == len(turns):
                    raise
            else:
                return ids
        raise AssertionError("the last round of the loop returns or raises")

    def _closed(self, new_ids: Sequence[int]) -> tuple[int, ...]:
        """Returns an answer's tokens with a newline, and nothing but it, at their end."""
        eos_id, newline_id = self._assistant.sampler.stop_ids
        return (*(index for index in new_ids if index not in (eos_id, newline_id)), newline_id)
