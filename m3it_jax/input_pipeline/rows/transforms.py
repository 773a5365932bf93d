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

and in one for an encoder-decoder model the encoder reads pictures, prompt and end id. What is learned stands behind
them in a training row, as in any other; the objective gives it to the decoder.
"""

import dataclasses
import itertools
from collections.abc import Callable, Iterable, Sequence

import numpy as np

from m3it_jax import errors, prompts, schema
from m3it_jax import tokenizer as tokenization
from m3it_jax.input_pipeline.rows.layout import Layout as Layout
from m3it_jax.input_pipeline.rows.layout import behind_picture

# Stands among a prompt's ids where a picture stands inside the text; no vocabulary has it.
PICTURE = -1


@dataclasses.dataclass(frozen=True)
class Text:
    """The tokens of a row's text within its limits.

    Attributes:
      prompt_ids: All that stands before the response, earlier turns with their answers included; PICTURE stands for
        each picture inside the text.
      response_ids: The last answer and what ends it; empty where it is still to be given.
      num_dropped: Tokens that did not fit.
      learned: Places of `prompt_ids` (start, stop) that the loss counts: earlier answers, and what ends each.
    """

    prompt_ids: list[int]
    response_ids: list[int]
    num_dropped: int = 0
    learned: tuple[tuple[int, int], ...] = ()


def lay_out(
    layout: Layout,
    tokenizer: tokenization.Tokenizer,
    turns: Sequence[schema.Turn],
    *,
    system: str = "",
    said: Sequence[Sequence[int]] | None = None,
) -> Text:
    """Returns the tokens of a conversation, nothing cut: training, evaluation, `generate` and `chat` all ask with them.

    Args:
      layout: The format, and the ids of its marks.
      tokenizer: Encodes the texts.
      turns: In order, each picture in one of them (`schema.placed`). The last one has an answer or is to be answered.
      system: What was said before all turns; empty takes the format's own words.
      said: The answers of all turns but the last as the tokens that a model made; None encodes their `outputs`.
    """
    if said is None:
        said = [answer_ids(layout, tokenizer, turn.outputs) for turn in turns[:-1]]
    asked = [turn_ids(layout, tokenizer, turns[0], system=system), *_later_ids(layout, tokenizer, turns)]
    ids, learned = _joined(layout, asked, said)
    response = response_ids(layout, tokenizer, turns[-1].outputs) if turns[-1].outputs else []
    return Text(ids, response, learned=learned)


def _later_ids(layout: Layout, tokenizer: tokenization.Tokenizer, turns: Sequence[schema.Turn]) -> Iterable[list[int]]:
    return (turn_ids(layout, tokenizer, turn, is_first=False) for turn in turns[1:])


def _joined(
    layout: Layout, asked: Sequence[Sequence[int]], said: Sequence[Sequence[int]]
) -> tuple[list[int], tuple[tuple[int, int], ...]]:
    """Returns `prompt_ids` and `learned` of turns whose questions and earlier answers are tokens already."""
    ids, learned = list(asked[0]), []
    mark = list(layout.turn_end_ids)
    for answer, question in zip(said, asked[1:], strict=True):
        # Pieces of the question may have merged with the mark; then what ends the answer cannot be told apart.
        ends = len(mark) if list(question[: len(mark)]) == mark else 0
        learned.append((len(ids), len(ids) + len(answer) + ends))
        ids += [*answer, *question]
    return ids, tuple(learned)


def turn_ids(
    layout: Layout, tokenizer: tokenization.Tokenizer, turn: schema.Turn, *, is_first: bool = True, system: str = ""
) -> list[int]:
    """Returns the tokens of one turn up to its answer, PICTURE where a picture of this turn stands inside the text.

    They are those of the reference's tokenizer for the whole prompt, since it cuts its text at the same marks.
    """
    segments = layout.format.segments(turn, is_first=is_first, system=system)
    if is_first:
        ids = tokenizer.encode(segments[0], "start")
    elif layout.format.has_end_between:
        ids = [layout.eos_id, *tokenizer.encode(segments[0], "after_mark")]
    else:
        ids = tokenizer.encode(segments[0], "inside")
    for segment in segments[1:]:
        ids += [PICTURE, *tokenizer.encode(segment, behind_picture(layout.format))]
    return ids


def answer_ids(layout: Layout, tokenizer: tokenization.Tokenizer, outputs: str) -> list[int]:
    """Returns the tokens of an answer without what ends it, as a later turn has it before it."""
    return tokenizer.encode(layout.format.said(outputs), _answer_place(layout))


def response_ids(layout: Layout, tokenizer: tokenization.Tokenizer, outputs: str) -> list[int]:
    """Returns the tokens of a whole response, those that end it included."""
    end = [layout.eos_id] if layout.format.has_end_id else []
    return [*tokenizer.encode(layout.format.response(outputs), _answer_place(layout)), *end]


def _answer_place(layout: Layout) -> tokenization.Place:
    return "inside" if layout.format.answer_begin else "start"


def without_oldest(turns: Sequence[schema.Turn], count: int) -> tuple[schema.Turn, ...]:
    """Returns the turns but the first `count`, whose pictures the first that is left shows instead."""
    num_images = sum(turn.new_pictures for turn in turns)
    return schema.placed(turns[count:], num_images)


def fit(layout: Layout, tokenizer: tokenization.Tokenizer, turns: Sequence[schema.Turn], *, system: str = "") -> Text:
    """Returns the tokens of a conversation, shortened where they are too many.

    Each answer is cut to `max_response_len`. Then the oldest turns are left out until the others fit, as `chat` forgets
    them; the text said before all turns stays with the first one left. A last turn that is too long for itself loses
    the end of its `inputs`, and only if nothing of them is left its answer loses more. Its instruction, the marks of
    the template and what ends an answer always stay.

    Args:
      layout: The format and the limits.
      tokenizer: Encodes the texts.
      turns: As `lay_out` takes them.
      system: As `lay_out` takes it.

    Raises:
      UserError: the last turn's instruction alone is too long.
    """
    limit = layout.max_response_len - len(layout.closing_ids)
    whole_said = [answer_ids(layout, tokenizer, turn.outputs) for turn in turns[:-1]]
    said = [ids[:limit] for ids in whole_said]
    later = list(_later_ids(layout, tokenizer, turns))
    response = response_ids(layout, tokenizer, turns[-1].outputs) if turns[-1].outputs else []
    whole, room = 0, layout.text_room(sum(turn.new_pictures for turn in turns))
    for first in range(len(turns)):
        kept = without_oldest(turns, first)
        asked = [turn_ids(layout, tokenizer, kept[0], system=system), *later[first:]]
        ids, learned = _joined(layout, asked, said[first:])
        whole = whole or len(ids) + len(response) + sum(map(len, whole_said)) - sum(map(len, said))
        text = Text(ids, _cut_response(layout, response, layout.max_response_len), learned=learned)
        if first == len(turns) - 1:
            text = _fit_turn(layout, tokenizer, kept[0], system=system, text=text)
        used = len(text.prompt_ids) + len(text.response_ids)
        if used - text.prompt_ids.count(PICTURE) <= room:
            return dataclasses.replace(text, num_dropped=whole - used)
    raise AssertionError("the last round of the loop returns or raises")


def _fit_turn(layout: Layout, tokenizer: tokenization.Tokenizer, turn: schema.Turn, *, system: str, text: Text) -> Text:
    """Returns the tokens of one turn within the limits; `text` has all of its prompt.

    Raises:
      UserError: the instruction alone is too long.
    """

    def encoded(part: str) -> list[int]:
        return turn_ids(layout, tokenizer, dataclasses.replace(turn, inputs=part), system=system)

    kept = text.response_ids
    pictures, room = text.prompt_ids.count(PICTURE), layout.text_room(turn.new_pictures)
    prompt = _cut_inputs(text.prompt_ids, encoded, turn.inputs, budget=room - len(kept) + pictures)
    room -= len(prompt) - pictures
    least = min(layout.least_response, len(kept))
    if room < least:
        raise errors.UserError(
            f"instruction {turn.instruction[:40]!r} needs data.max_text_len {layout.max_text_len - room + least}, "
            f"it is {layout.max_text_len}; raise it"
        )
    return Text(prompt, _cut_response(layout, kept, room))


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
    layout: Layout,
    text: Text,
    *,
    num_images: int,
    captions: Sequence[Sequence[int]] | None = None,
    slots: Sequence[int] = (),
) -> dict[str, np.ndarray]:
    """Returns a row without padding: pictures, begin id, prompt and response in the order of the format.

    Args:
      layout: Marks and length of pictures.
      text: From `fit` or `lay_out`.
      num_images: Pictures of the row.
      captions: Token ids to stand in each picture's place instead of its embeddings; the loss counts them too.
      slots: Of each picture, its tiles and overview, which stand between its marks; (): one each.

    Returns:
      token_ids, image_token_index, segment_ids, positions (int32 [T]) and loss_mask (float32 [T]); drawn above.

    Raises:
      ValueError: the places of pictures inside the text are not as many as the pictures.
    """
    inside = text.prompt_ids.count(PICTURE)
    if inside != (num_images if layout.format.has_pictures_inside else 0):
        raise ValueError(f"{inside} places inside the prompt for {num_images} pictures")
    numbers, ends = iter(range(num_images)), list(itertools.accumulate(slots or [1] * num_images, initial=0))
    cells: list[tuple[int, int, int]] = []  # of each position: token id, place in the row's pictures, loss

    def add_text(ids: Iterable[int], counted: int = 0) -> None:
        cells.extend((index, -1, counted) for index in ids)

    def add_picture() -> None:
        number = next(numbers)
        if captions is not None:
            return add_text(captions[number], counted=1)
        first, stop = (end * layout.picture_len for end in ends[number : number + 2])
        cells.extend((0, place, 0) for place in range(first, stop))

    for _ in range(num_images - inside):
        add_text(layout.open_ids)
        add_picture()
        add_text(layout.close_ids)
    add_text(layout.begin_ids)
    counted = {place for start, stop in text.learned for place in range(start, stop)}
    for place, index in enumerate(text.prompt_ids):
        if index == PICTURE:
            add_picture()
        else:
            cells.append((index, -1, int(place in counted)))
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
    layout: Layout, ids: Sequence[int], *, slots: Sequence[int], image_token_id: int | None
) -> dict[str, np.ndarray]:
    """Returns the row of ids that are taken as they are, without padding: nothing but pictures is added.

    Args:
      layout: Marks and length of pictures.
      ids: All ids of the text; for each slot of a picture, `picture_len` times `image_token_id` stand inside it.
      slots: Of each picture of the row, as `make_row` takes them. Pictures come first, with their marks, if no id
        stands for one.
      image_token_id: The placeholder, None if there is none.

    Raises:
      UserError: the placeholders are not those of so many pictures.
    """
    inside, wanted = sum(index == image_token_id for index in ids), sum(slots) * layout.picture_len
    if inside != wanted and (inside or (layout.format.has_pictures_inside and slots)):
        tiles = f" in {sum(slots)} tiles and overviews" if sum(slots) > len(slots) else ""
        raise errors.UserError(
            f"token_ids: {inside} image placeholders ({image_token_id}) for {len(slots)} pictures{tiles}, each of "
            f"which takes {layout.picture_len}; give {wanted}"
        )
    begins = {first * layout.picture_len for first in itertools.accumulate(slots, initial=0)}
    prompt: list[int] = []
    num_seen = 0
    for index in ids:
        if index != image_token_id:
            prompt.append(index)
            continue
        if num_seen in begins:
            prompt.append(PICTURE)
        num_seen += 1
    bare = prompts.PromptFormat("", has_begin_id=False, has_end_id=False, has_pictures_inside=bool(inside))
    text = Text(prompt, [], num_dropped=0)
    return make_row(dataclasses.replace(layout, format=bare), text, num_images=len(slots), slots=slots)


def pad_row(row: dict[str, np.ndarray], length: int) -> dict[str, np.ndarray]:
    """Returns the row with padding on its right up to `length` tokens: segment 0, no loss, no picture.

    Raises:
      ValueError: the row is longer.
    """
    padding = length - len(row["token_ids"])
    if padding < 0:
        raise ValueError(f"a row of {len(row['token_ids'])} tokens does not fit into {length}")
    padded = {}
    for name, array in row.items():
        padded[name] = np.full(length, -1 if name == "image_token_index" else 0, array.dtype)
        padded[name][: length - padding] = array
    return padded


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
    layout: Layout, tokenizer: tokenization.Tokenizer, turns: Sequence[schema.Turn], *, system: str = ""
) -> dict[str, np.ndarray]:
    """Returns the row of a whole conversation, padded on its right to `layout.row_len` of its pictures.

    Raises:
      UserError: the last instruction alone does not fit into `max_text_len`.
    """
    text = fit(layout, tokenizer, turns, system=system)
    num_images = sum(turn.new_pictures for turn in turns)
    return pad_row(make_row(layout, text, num_images=num_images), layout.row_len(num_images))
