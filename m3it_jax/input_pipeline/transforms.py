"""From one record to arrays: decode its pictures, lay its tokens out as a row.

A training row for one picture, Q = 2 query tokens, markers of 1 token each, two words of response and max_text_len 8
(`.` is padding, T = 1 * (2 + 1 + 1) + 8 = 12):

    text               <Img>  q  q  </Img>  <s>  What  ?  blue  circle  ⏎  </s>  .
    token_ids            o    0  0    c      1    w    ?   b      r     n    2   0
    image_token_index   -1    0  1   -1     -1   -1   -1  -1     -1    -1   -1  -1
    segment_ids          1    1  1    1      1    1    1   1      1     1    1   0
    positions            0    1  2    3      4    5    6   7      8     9   10   0
    loss_mask            0    0  0    0      0    0    0   1      1     1    1   0

The loss mask belongs to targets: `loss_mask[t] = 1` says that predicting token t from what stands before it counts.
The order (all pictures, then begin, prompt, response, end) is YING-VLM's (modelingYING.py).
"""

import dataclasses
import io
import struct
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from m3it_jax import errors, prompts, schema
from m3it_jax import tokenizer as tokenization

MAX_PIXELS = schema.MAX_PIXELS

# CHOICE: tokens of one description of a picture, for objectives that read it; the small edition's have at most 14.
CAPTION_LEN = 16

_LEAST_RESPONSE = 3  # one token, the newline, the end id

# What Pillow 13's PNG and JPEG readers raise on damaged files, besides its own bomb error.
_DAMAGED = (OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError, OverflowError, struct.error, zlib.error)

_ORIENTATION = 0x0112  # EXIF 2.32, section 4.6.4


def decode_image(data: bytes, size: int) -> np.ndarray:
    """Returns an encoded picture as uint8 [size, size, 3] RGB: bicubic as Pillow does it, without a crop.

    EXIF orientation is applied and transparent parts become white. A picture that has the size already is not touched.

    Raises:
      UserError: no PNG or JPEG, more than MAX_PIXELS by its header (nothing is decoded then), or damaged.
    """
    try:
        with Image.open(io.BytesIO(data), formats=("PNG", "JPEG")) as image:
            if image.width * image.height > MAX_PIXELS:
                raise errors.UserError(
                    f"picture of {image.width} x {image.height} pixels is above the limit of {MAX_PIXELS}; shrink it"
                )
            image.load()
            return np.asarray(_square(image, size))
    except UnidentifiedImageError as error:
        raise errors.UserError("picture is no readable PNG or JPEG; convert or replace it") from error
    except Image.DecompressionBombError as error:
        raise errors.UserError(f"picture is above the limit of {MAX_PIXELS} pixels; shrink it") from error
    except _DAMAGED as error:
        raise errors.UserError(f"picture is damaged or cut off ({error}); replace it") from error


def _square(image: Image.Image, size: int) -> Image.Image:
    """Returns a decoded picture as RGB of size x size pixels."""
    if _ORIENTATION in image.getexif():
        image = ImageOps.exif_transpose(image)
    if image.mode.startswith("I"):  # 16 bits of grey: Pillow's own conversion would clip instead of scaling
        image = Image.fromarray((np.asarray(image).astype(np.uint32) >> 8).astype(np.uint8))
    if image.has_transparency_data:
        # Pillow resamples RGBA with premultiplied alpha, so hidden colours do not bleed into the edges.
        image = _resized(image.convert("RGBA"), size)
        white = Image.new("RGBA", image.size, (255, 255, 255, 255))
        return Image.alpha_composite(white, image).convert("RGB")
    return _resized(image if image.mode == "RGB" else image.convert("RGB"), size)


def _resized(image: Image.Image, size: int) -> Image.Image:
    if image.size == (size, size):
        return image
    return image.resize((size, size), Image.Resampling.BICUBIC)


def sample_frames(num_total: int, num_frames: int = 8) -> np.ndarray:
    """Returns which of `num_total` frames to take: the centres of equal segments, rising, int64 [num_frames].

    The default is the paper's 8 frames (arXiv 2306.04387, section 4.2). A shorter video gives some frames twice.

    Raises:
      ValueError: there is no frame.
    """
    if num_total < 1:
        raise ValueError(f"a video of {num_total} frames has nothing to sample")
    return ((2 * np.arange(num_frames) + 1) * num_total) // (2 * num_frames)


@dataclasses.dataclass(frozen=True)
class Layout:
    """Where tokens stand in a row.

    Attributes:
      num_queries: Q, query tokens of one picture.
      open_ids: Token ids before each picture's queries.
      close_ids: Token ids after them.
      bos_id: Begin of the text, after the last picture.
      eos_id: End of the response.
      max_text_len: Tokens from the begin id to the end id, both counted.
      max_response_len: Tokens of the response, its newline and the end id counted.
    """

    num_queries: int
    open_ids: tuple[int, ...]
    close_ids: tuple[int, ...]
    bos_id: int
    eos_id: int
    max_text_len: int
    max_response_len: int

    @classmethod
    def of(
        cls, tokenizer: tokenization.Tokenizer, *, num_queries: int, max_text_len: int, max_response_len: int
    ) -> "Layout":
        """Returns the layout with the tokenizer's ids for begin, end and the marks around pictures."""
        return cls(
            num_queries=num_queries,
            open_ids=tuple(tokenizer.encode(prompts.IMAGE_OPEN)),
            close_ids=tuple(tokenizer.encode(prompts.IMAGE_CLOSE)),
            bos_id=tokenizer.bos_id,
            eos_id=tokenizer.eos_id,
            max_text_len=max_text_len,
            max_response_len=max_response_len,
        )

    def block_len(self, picture_len: int) -> int:
        """Returns the tokens of one picture's block when `picture_len` of them stand between the marks."""
        return len(self.open_ids) + picture_len + len(self.close_ids)

    def row_len(self, num_images: int, picture_len: int | None = None) -> int:
        """Returns T of a training row; `picture_len` defaults to the query tokens."""
        return num_images * self.block_len(picture_len or self.num_queries) + self.max_text_len

    def __post_init__(self) -> None:
        """Refuses limits that could hold no response at all.

        Raises:
          ConfigError: a limit is too small.
        """
        if self.max_response_len < _LEAST_RESPONSE:
            raise errors.ConfigError(
                f"data.max_response_len={self.max_response_len}: must be {_LEAST_RESPONSE} or more "
                "(one token, the newline, the end id)"
            )


@dataclasses.dataclass(frozen=True)
class Text:
    """The tokens of a row's text within its limits; `num_dropped` of its tokens did not fit."""

    prompt_ids: list[int]
    response_ids: list[int]
    num_dropped: int


def fit_text(
    layout: Layout, tokenizer: tokenization.Tokenizer, *, instruction: str, inputs: str, outputs: str | None
) -> Text:
    """Returns the tokens of one turn, shortened where they are too many.

    A response is cut to `max_response_len`; then `inputs` loses its end until all fits, and only if nothing of it is
    left the response loses more. The instruction, the marks of the template, the newline and the end id always stay.

    Args:
      layout: The limits.
      tokenizer: Encodes the texts.
      instruction: As in `Instance`.
      inputs: As in `Instance`.
      outputs: As in `Instance`; None for a prompt that is to be answered.

    Raises:
      UserError: the instruction alone is too long.
    """
    response = [] if outputs is None else [*tokenizer.encode(prompts.response(outputs)), layout.eos_id]
    kept = _cut_response(response, layout.max_response_len)
    whole = tokenizer.encode(prompts.prompt(instruction, inputs))
    prompt = _cut_inputs(tokenizer, whole, instruction, inputs=inputs, budget=layout.max_text_len - 1 - len(kept))
    room = layout.max_text_len - 1 - len(prompt)
    if room < min(_LEAST_RESPONSE, len(kept)):
        needed = layout.max_text_len - room + min(_LEAST_RESPONSE, len(kept))
        raise errors.UserError(
            f"instruction {instruction[:40]!r} needs data.max_text_len {needed}, it is {layout.max_text_len}; raise it"
        )
    kept = _cut_response(kept, room)
    return Text(prompt, kept, len(whole) - len(prompt) + len(response) - len(kept))


def _cut_response(ids: list[int], limit: int) -> list[int]:
    """Returns the response with the end of its words cut, never its newline and end id."""
    return ids if len(ids) <= limit else ids[: limit - 2] + ids[-2:]


def _cut_inputs(
    tokenizer: tokenization.Tokenizer, whole: list[int], instruction: str, *, inputs: str, budget: int
) -> list[int]:
    """Returns the prompt with as much of the begin of `inputs` as fits; with none of it if even that is too long."""
    if len(whole) <= budget:
        return whole
    best, low, high = tokenizer.encode(prompts.prompt(instruction, "")), 0, len(inputs)
    while high - low > 1:  # invariant: `low` characters are what `best` holds, `high` are too many
        middle = (low + high) // 2
        ids = tokenizer.encode(prompts.prompt(instruction, inputs[:middle]))
        if len(ids) <= budget:
            best, low = ids, middle
        else:
            high = middle
    return best


def make_row(
    layout: Layout, text: Text, *, num_images: int, captions: Sequence[Sequence[int]] | None = None
) -> dict[str, np.ndarray]:
    """Returns a row without padding: the pictures' blocks, then the begin id, prompt and response.

    Args:
      layout: Marks and number of query tokens.
      text: From `fit_text`.
      num_images: Pictures of the row.
      captions: Token ids to stand in each picture's block instead of query tokens; the loss counts them too.

    Returns:
      token_ids, image_token_index, segment_ids, positions (int32 [T]) and loss_mask (float32 [T]); drawn above.
    """
    ids: list[int] = []
    index: list[int] = []
    loss: list[int] = []
    for number in range(num_images):
        if captions is None:
            inner: Sequence[int] = [0] * layout.num_queries
            shown: Sequence[int] = range(number * layout.num_queries, (number + 1) * layout.num_queries)
        else:
            inner, shown = captions[number], [-1] * len(captions[number])
        ids += [*layout.open_ids, *inner, *layout.close_ids]
        index += [-1] * len(layout.open_ids) + [*shown] + [-1] * len(layout.close_ids)
        counted = 0 if captions is None else 1
        loss += [0] * len(layout.open_ids) + [counted] * len(inner) + [0] * len(layout.close_ids)
    prompt = [layout.bos_id, *text.prompt_ids]
    ids += prompt + text.response_ids
    index += [-1] * (len(ids) - len(index))
    loss += [0] * len(prompt) + [1] * len(text.response_ids)
    return {
        "token_ids": np.array(ids, np.int32),
        "image_token_index": np.array(index, np.int32),
        "segment_ids": np.ones(len(ids), np.int32),
        "positions": np.arange(len(ids), dtype=np.int32),
        "loss_mask": np.array(loss, np.float32),
    }


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


def prompt_row(
    layout: Layout, tokenizer: tokenization.Tokenizer, *, instruction: str, inputs: str, num_images: int
) -> dict[str, np.ndarray]:
    """Returns the row of a prompt that is to be answered, without padding (see `make_row`, `pad_row`).

    Raises:
      UserError: the instruction alone does not fit into `max_text_len`.
    """
    text = fit_text(layout, tokenizer, instruction=instruction, inputs=inputs, outputs=None)
    return make_row(layout, text, num_images=num_images)


def training_row(
    layout: Layout,
    tokenizer: tokenization.Tokenizer,
    *,
    instruction: str,
    inputs: str,
    outputs: str,
    num_images: int,
) -> dict[str, np.ndarray]:
    """Returns the row of a whole turn, padded on its right to `layout.row_len(num_images)`.

    Raises:
      UserError: the instruction alone does not fit into `max_text_len`.
    """
    text = fit_text(layout, tokenizer, instruction=instruction, inputs=inputs, outputs=outputs)
    return pad_row(make_row(layout, text, num_images=num_images), layout.row_len(num_images))


def caption_ids(tokenizer: tokenization.Tokenizer, caption: str) -> list[int]:
    """Returns the first CAPTION_LEN tokens of a picture's description."""
    return tokenizer.encode(caption)[:CAPTION_LEN]


def tower_row(
    tokenizer: tokenization.Tokenizer,
    *,
    caption: str,
    attributes: Mapping[str, Any],
    tables: Mapping[str, Mapping[Any, int]],
) -> dict[str, np.ndarray]:
    """Returns what is known of one picture, for objectives that train the towers alone.

    Args:
      tokenizer: Encodes the caption.
      caption: Description of the picture; may be empty.
      attributes: Name -> value of what the record says about the picture.
      tables: Name -> value -> label, for all attributes of the data folder.

    Returns:
      caption_ids int32 [CAPTION_LEN], 0 where it is shorter, and attributes int32 [len(tables)] in the order of the
      tables' names: the label, or -1 where the record does not say or the value is in no table.
    """
    ids = caption_ids(tokenizer, caption)
    labels = [tables[name].get(attributes.get(name), -1) for name in sorted(tables)]
    return {
        "caption_ids": np.array(ids + [0] * (CAPTION_LEN - len(ids)), np.int32),
        "attributes": np.array(labels, np.int32),
    }
