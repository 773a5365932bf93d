"""From the texts of a record to a row of tokens: where pictures, prompt and response stand, and what is learned.

A training row of format `ying_vlm` for one picture that takes 2 positions, marks of 1 token each, two words of response
and max_text_len 8 (`.` is padding, T = 1 * (2 + 1 + 1) + 8 = 12):

    text               <Img>  P  P  </Img>  <s>  What  ?  blue  circle  ⏎  </s>  .
    token_ids            o    0  0    c      1    w    ?   b      r     n    2   0
    image_token_index   -1    0  1   -1     -1   -1   -1  -1     -1    -1   -1  -1
    segment_ids          1    1  1    1      1    1    1   1      1     1    1   0
    positions            0    1  2    3      4    5    6   7      8     9   10   0
    loss_mask            0    0  0    0      0    0    0   1      1     1    1   0

The loss mask belongs to targets: `loss_mask[t] = 1` says that predicting token t from what stands before it counts.
The order (all pictures, then begin, prompt, response, end) is YING-VLM's (modelingYING.py). In a format with pictures
inside the text (`prompts.FORMATS`), the same row is

    text                <s>  USER  :  P  P  ⏎  What  ?  ASSISTANT  :  blue  circle  </s>  .

and in one for an encoder-decoder model the row is what the encoder reads: pictures, prompt, end id.
"""

import dataclasses
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from m3it_jax import errors, prompts
from m3it_jax import tokenizer as tokenization

# Stands among a prompt's ids where a picture stands inside the text; no vocabulary has it.
PICTURE = -1


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where tokens stand in a row.

    Attributes:
      format: How the model is asked.
      picture_len: Positions that one picture takes between its marks.
      open_ids: Token ids before each picture.
      close_ids: Token ids after each picture.
      closing_ids: Token ids that end every response.
      bos_id: Begin of the text.
      eos_id: End of the text.
      max_text_len: Tokens of the text, the ids of begin and end counted, pictures and their marks not.
      max_response_len: Tokens of the response, `closing_ids` counted.
      qformer_text_len: Tokens of the text that the Q-Former reads in training; 0 if it reads none.
    """

    format: prompts.PromptFormat
    picture_len: int
    open_ids: tuple[int, ...]
    close_ids: tuple[int, ...]
    closing_ids: tuple[int, ...]
    bos_id: int
    eos_id: int
    max_text_len: int
    max_response_len: int
    qformer_text_len: int = 0

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
            close_ids=tuple(tokenizer.encode(prompt_format.picture_close, _behind_picture(prompt_format))),
            closing_ids=(*tokenizer.encode(prompt_format.answer_end, "inside"), *end),
            bos_id=tokenizer.bos_id,
            eos_id=tokenizer.eos_id,
            max_text_len=max_text_len,
            max_response_len=max_response_len,
            qformer_text_len=qformer_text_len,
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

    def row_len(self, num_images: int, picture_len: int | None = None) -> int:
        """Returns T of a training row; `picture_len` defaults to that of a picture's embeddings."""
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


@dataclasses.dataclass(frozen=True)
class Text:
    """The tokens of a row's text within its limits; `num_dropped` of its tokens did not fit.

    In `prompt_ids`, PICTURE stands for each picture inside the text.
    """

    prompt_ids: list[int]
    response_ids: list[int]
    num_dropped: int


def prompt_ids(
    layout: Layout,
    tokenizer: tokenization.Tokenizer,
    *,
    instruction: str,
    inputs: str,
    num_images: int = 0,
    is_first: bool = True,
) -> list[int]:
    """Returns the tokens of one turn's prompt, PICTURE where a picture of this turn stands inside the text.

    They are those of the reference's tokenizer for the whole prompt, since it cuts its text at the same marks.
    """
    segments = layout.format.segments(instruction, inputs, num_pictures=num_images, is_first=is_first)
    if is_first:
        ids = tokenizer.encode(segments[0], "start")
    elif layout.format.has_end_between:
        ids = [layout.eos_id, *tokenizer.encode(segments[0], "after_mark")]
    else:
        ids = tokenizer.encode(segments[0], "inside")
    for segment in segments[1:]:
        ids += [PICTURE, *tokenizer.encode(segment, _behind_picture(layout.format))]
    return ids


def _behind_picture(prompt_format: prompts.PromptFormat) -> tokenization.Place:
    is_start = prompt_format.has_texts_alone or not prompt_format.has_pictures_inside
    return "start" if is_start else "after_mark"


def response_ids(layout: Layout, tokenizer: tokenization.Tokenizer, outputs: str) -> list[int]:
    """Returns the tokens of a whole response, those that end it included."""
    place: tokenization.Place = "inside" if layout.format.answer_begin else "start"
    end = [layout.eos_id] if layout.format.has_end_id else []
    return [*tokenizer.encode(layout.format.response(outputs), place), *end]


def fit_text(
    layout: Layout,
    tokenizer: tokenization.Tokenizer,
    *,
    instruction: str,
    inputs: str,
    outputs: str | None,
    num_images: int = 0,
) -> Text:
    """Returns the tokens of one turn, shortened where they are too many.

    A response is cut to `max_response_len`; then `inputs` loses its end until all fits, and only if nothing of it is
    left the response loses more. The instruction, the marks of the template and what ends an answer always stay.

    Args:
      layout: The format and the limits.
      tokenizer: Encodes the texts.
      instruction: As in `Instance`.
      inputs: As in `Instance`.
      outputs: As in `Instance`; None for a prompt that is to be answered.
      num_images: Pictures of the row.

    Raises:
      UserError: the instruction alone is too long.
    """

    def encoded(part: str) -> list[int]:
        return prompt_ids(layout, tokenizer, instruction=instruction, inputs=part, num_images=num_images)

    response = [] if outputs is None else response_ids(layout, tokenizer, outputs)
    kept = _cut_response(layout, response, layout.max_response_len)
    whole = encoded(inputs)
    pictures, room = whole.count(PICTURE), layout.text_room(num_images)
    prompt = _cut_inputs(whole, encoded, inputs, budget=room - len(kept) + pictures)
    room -= len(prompt) - pictures
    least = min(layout.least_response, len(kept))
    if room < least:
        raise errors.UserError(
            f"instruction {instruction[:40]!r} needs data.max_text_len {layout.max_text_len - room + least}, "
            f"it is {layout.max_text_len}; raise it"
        )
    kept = _cut_response(layout, kept, room)
    return Text(prompt, kept, len(whole) - len(prompt) + len(response) - len(kept))


def _cut_response(layout: Layout, ids: list[int], limit: int) -> list[int]:
    """Returns the response with the end of its words cut, never what ends an answer."""
    closing = list(layout.closing_ids)
    return ids if len(ids) <= limit else ids[: limit - len(closing)] + closing


def _cut_inputs(whole: list[int], encoded: Callable[[str], list[int]], inputs: str, *, budget: int) -> list[int]:
    """Returns the prompt with as much of the begin of `inputs` as fits; with none of it if even that is too long."""
    if len(whole) <= budget:
        return whole
    best, low, high = encoded(""), 0, len(inputs)
    while high - low > 1:  # invariant: `low` characters are what `best` holds, `high` are too many
        middle = (low + high) // 2
        ids = encoded(inputs[:middle])
        if len(ids) <= budget:
            best, low = ids, middle
        else:
            high = middle
    return best


def make_row(
    layout: Layout, text: Text, *, num_images: int, captions: Sequence[Sequence[int]] | None = None
) -> dict[str, np.ndarray]:
    """Returns a row without padding: pictures, begin id, prompt and response in the order of the format.

    Args:
      layout: Marks and length of pictures.
      text: From `fit_text`.
      num_images: Pictures of the row.
      captions: Token ids to stand in each picture's place instead of its embeddings; the loss counts them too.

    Returns:
      token_ids, image_token_index, segment_ids, positions (int32 [T]) and loss_mask (float32 [T]); drawn above.

    Raises:
      ValueError: the places of pictures inside the text are not as many as the pictures.
    """
    inside = text.prompt_ids.count(PICTURE)
    if inside != (num_images if layout.format.has_pictures_inside else 0):
        raise ValueError(f"{inside} places inside the prompt for {num_images} pictures")
    numbers = iter(range(num_images))
    cells: list[tuple[int, int, int]] = []  # of each position: token id, place in the row's pictures, loss

    def add_text(ids: Iterable[int], counted: int = 0) -> None:
        cells.extend((index, -1, counted) for index in ids)

    def add_picture() -> None:
        number = next(numbers)
        if captions is None:
            first = number * layout.picture_len
            cells.extend((0, place, 0) for place in range(first, first + layout.picture_len))
        else:
            add_text(captions[number], counted=1)

    for _ in range(num_images - inside):
        add_text(layout.open_ids)
        add_picture()
        add_text(layout.close_ids)
    add_text(layout.begin_ids)
    for index in text.prompt_ids:
        if index == PICTURE:
            add_picture()
        else:
            cells.append((index, -1, 0))
    add_text(layout.prompt_end_ids)
    add_text(text.response_ids, counted=1)
    columns = np.array(cells, np.int32).reshape(-1, 3)
    return {
        "token_ids": columns[:, 0].copy(),
        "image_token_index": columns[:, 1].copy(),
        "segment_ids": np.ones(len(cells), np.int32),
        "positions": np.arange(len(cells), dtype=np.int32),
        "loss_mask": columns[:, 2].astype(np.float32),
    }


def given_row(
    layout: Layout, ids: Sequence[int], *, num_images: int, image_token_id: int | None
) -> dict[str, np.ndarray]:
    """Returns the row of ids that are taken as they are, without padding: nothing but pictures is added.

    Args:
      layout: Marks and length of pictures.
      ids: All ids of the text; `picture_len` times `image_token_id` stand for a picture inside it.
      num_images: Pictures of the row. They come first, with their marks, if no id stands for one.
      image_token_id: The placeholder, None if there is none.

    Raises:
      UserError: the placeholders are not those of so many pictures.
    """
    inside = [index for index in ids if index == image_token_id]
    wanted = num_images * layout.picture_len
    if len(inside) != wanted and (inside or (layout.format.has_pictures_inside and num_images)):
        raise errors.UserError(
            f"token_ids: {len(inside)} image placeholders ({image_token_id}) for {num_images} pictures, each of which "
            f"takes {layout.picture_len}; give {wanted}"
        )
    prompt: list[int] = []
    num_seen = 0
    for index in ids:
        if index != image_token_id:
            prompt.append(index)
            continue
        if num_seen % layout.picture_len == 0:
            prompt.append(PICTURE)
        num_seen += 1
    bare = prompts.PromptFormat("", has_begin_id=False, has_end_id=False, has_pictures_inside=bool(inside))
    text = Text(prompt, [], num_dropped=0)
    return make_row(dataclasses.replace(layout, format=bare), text, num_images=num_images)


def pad_row(row: dict[str, np.ndarray], length: int) -> dict[str, np.ndarray]:
    """Returns the row with padding on its right up to `length` tokens: segment 0, no loss, no picture.

    Raises:
      ValueError: the row is longer.
    """
    padding = length - len(row["token_ids"])
    if padding < 0:
        raise ValueError(f"a row of {len(row['token_ids'])} tokens does not fit into {length}")
    fill = {"image_token_index": -1}
    return {k: np.pad(v, (0, padding), constant_values=fill.get(k, 0)) for k, v in row.items()}


def qformer_text(tokenizer: tokenization.Tokenizer, text: str, length: int | None = None) -> dict[str, np.ndarray]:
    """Returns what the Q-Former reads beside a picture: the prompt's text between its begin and end ids.

    A text above `length` tokens loses its end (the released code drops its beginning, where our instructions are), a
    shorter one is padded; None: as long as the text.

    Returns:
      text_ids int32 [C] and text_mask bool [C], True for real tokens.
    """
    ids = tokenizer.encode(text)
    if length is not None:
        ids = ids[: length - 2]
    ids = [tokenizer.bos_id, *ids, tokenizer.eos_id]
    padding = (length or len(ids)) - len(ids)
    mask = np.arange(len(ids) + padding) < len(ids)
    return {"text_ids": np.array(ids + [tokenizer.pad_id] * padding, np.int32), "text_mask": mask}


def training_row(
    layout: Layout, tokenizer: tokenization.Tokenizer, *, num_images: int, **texts: str
) -> dict[str, np.ndarray]:
    """Returns the row of a whole turn, padded on its right to `layout.row_len(num_images)`.

    Raises:
      UserError: the instruction alone does not fit into `max_text_len`.
    """
    text = fit_text(layout, tokenizer, num_images=num_images, **texts)
    return pad_row(make_row(layout, text, num_images=num_images), layout.row_len(num_images))
