"""Where tokens stand in a row: a prompt format with the ids of one tokenizer and the limits of one model or run."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from m3it_jax import errors, prompts
from m3it_jax import tokenizer as tokenization
from m3it_jax.input_pipeline.pixels.tiling import Tiling


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where tokens stand in a row.

    Attributes:
      format: How the model is asked.
      picture_len: Positions that one picture takes between its marks.
      open_ids: Token ids before each picture.
      close_ids: Token ids after each picture.
      closing_ids: Token ids that end every response.
      turn_end_ids: Token ids that end an answer before a later turn; empty in a format whose earlier answers have no
        end that a last one has.
      bos_id: Begin of the text.
      eos_id: End of the text.
      max_text_len: Tokens of the text, the ids of begin and end counted, pictures and their marks not.
      max_response_len: Tokens of the response, `closing_ids` counted.
      qformer_text_len: Tokens of the text that the Q-Former reads in training; 0 if it reads none.
      tiling: How pictures are cut; `picture_len` positions go to each tile and to the overview.
    """

    format: prompts.PromptFormat
    picture_len: int
    open_ids: tuple[int, ...]
    close_ids: tuple[int, ...]
    closing_ids: tuple[int, ...]
    turn_end_ids: tuple[int, ...]
    bos_id: int
    eos_id: int
    max_text_len: int
    max_response_len: int
    qformer_text_len: int = 0
    tiling: Tiling = Tiling()

    @classmethod
    def of(
        cls,
        tokenizer: tokenization.Tokenizer,
        prompt_format: prompts.PromptFormat,
        *,
        picture_len: int,
        max_text_len: int,
        max_response_len: int,
        qformer_text_len: int = 0,
        tiling: Tiling = Tiling(),  # noqa: B008  (frozen)
    ) -> "Layout":
        """Returns the layout of a format with the tokenizer's ids for begin, end and the marks around pictures.

        Raises:
          ConfigError: the format begins with an id that the tokenizer does not have, or a limit is too small.
        """
        if prompt_format.has_begin_id and tokenizer.bos_id < 0:
            raise errors.ConfigError(
                "data.tokenizer: has no begin id, with which the model's prompts begin; take the model's own tokenizer"
            )
        place: tokenization.Place = "inside" if prompt_format.has_pictures_inside else "start"
        end = (tokenizer.eos_id,) if prompt_format.has_end_id else ()
        return cls(
            format=prompt_format,
            picture_len=picture_len,
            open_ids=tuple(tokenizer.encode(prompt_format.picture_open, place)),
            close_ids=tuple(tokenizer.encode(prompt_format.picture_close, behind_picture(prompt_format))),
            closing_ids=(*tokenizer.encode(prompt_format.answer_end, "inside"), *end),
            turn_end_ids=_turn_end_ids(tokenizer, prompt_format),
            bos_id=tokenizer.bos_id,
            eos_id=tokenizer.eos_id,
            max_text_len=max_text_len,
            max_response_len=max_response_len,
            qformer_text_len=qformer_text_len,
            tiling=tiling,
        )

    @property
    def begin_ids(self) -> tuple[int, ...]:
        """Token ids between the pictures that stand first and the prompt."""
        return (self.bos_id,) if self.format.has_begin_id else ()

    @property
    def prompt_end_ids(self) -> tuple[int, ...]:
        """Token ids between the prompt and the response."""
        return (self.eos_id,) if self.format.has_prompt_end_id else ()

    def block_len(self, picture_len: int) -> int:
        """Returns the tokens of one picture and its marks when `picture_len` of them stand between the marks."""
        return len(self.open_ids) + picture_len + len(self.close_ids)

    def pictures_len(self, slots: Sequence[int], picture_len: int | None = None) -> int:
        """Returns the tokens of pictures and their marks; `slots` has those of each picture, its tiles and overview."""
        return len(slots) * self.block_len(0) + sum(slots) * (picture_len or self.picture_len)

    def row_len(self, num_images: int, picture_len: int | None = None) -> int:
        """Returns T of a training row; `picture_len` defaults to that of a picture's embeddings.

        Of pictures that are cut, `num_images` are the slots: each has room for marks, though a picture has them once.
        """
        return num_images * self.block_len(picture_len or self.picture_len) + self.max_text_len

    def text_room(self, num_images: int) -> int:
        """Returns the most tokens of prompt and response together; marks inside the text are part of the prompt."""
        marks = num_images * self.block_len(0) if self.format.has_pictures_inside else 0
        return self.max_text_len + marks - len(self.begin_ids) - len(self.prompt_end_ids)

    def facts(self) -> dict[str, Any]:
        """Returns what rows depend on, for fingerprints; of `ying_vlm` in the words that runs are stored with."""
        facts = {
            "num_queries": self.picture_len,
            **{name: getattr(self, name) for name in ("open_ids", "close_ids", "bos_id", "eos_id")},
            "max_text_len": self.max_text_len,
            "max_response_len": self.max_response_len,
        }
        if self.tiling.most > 1:
            facts["tiles"] = dataclasses.astuple(self.tiling)
        if self.format == prompts.YING_VLM:
            return facts
        more = {"format": dataclasses.asdict(self.format)}
        return facts | more | {name: getattr(self, name) for name in ("closing_ids", "qformer_text_len")}

    @property
    def least_response(self) -> int:
        """Fewest tokens of a response that says anything."""
        return 1 + len(self.closing_ids)

    def __post_init__(self) -> None:
        """Refuses limits that could hold no response at all.

        Raises:
          ConfigError: a limit is too small.
        """
        if self.max_response_len < self.least_response:
            raise errors.ConfigError(
                f"data.max_response_len={self.max_response_len}: must be {self.least_response} or more "
                f"(one token and the {len(self.closing_ids)} that end an answer)"
            )


def behind_picture(prompt_format: prompts.PromptFormat) -> tokenization.Place:
    """Returns where the text behind a picture stands, for its encoding."""
    is_start = prompt_format.has_texts_alone or not prompt_format.has_pictures_inside
    return "start" if is_start else "after_mark"


def _turn_end_ids(tokenizer: tokenization.Tokenizer, prompt_format: prompts.PromptFormat) -> tuple[int, ...]:
    """Returns what `Layout.turn_end_ids` says: the marks that a model is taught to end with, if they stand there."""
    if prompt_format.has_end_between:
        return (tokenizer.eos_id,)
    ends = prompt_format.answer_end and prompt_format.between.startswith(prompt_format.answer_end)
    return tuple(tokenizer.encode(prompt_format.answer_end, "inside")) if ends else ()
