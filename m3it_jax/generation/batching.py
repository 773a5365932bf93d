"""Requests of mixed lengths -> batches of few shapes: lengths rounded up, so that a shape is compiled once."""

import bisect
import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from m3it_jax.generation.pictures import Picture
from m3it_jax.generation.request import EARLY_STOPPING, SamplingConfig

# Steps of a half or less: at most a third of a row is padding. From 16, since shorter prompts hardly exist.
_LENGTHS = (16, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768, 1024, 1536, 2048)


def length_bucket(length: int) -> int:
    """Returns the padded length of a row of `length` tokens."""
    place = bisect.bisect_left(_LENGTHS, length)
    return _LENGTHS[place] if place < len(_LENGTHS) else -(-length // _LENGTHS[-1]) * _LENGTHS[-1]


def power_bucket(count: int, least: int = 1) -> int:
    """Returns the smallest power of two that is at least `count` and `least`."""
    return max(least, 1 << max(count - 1, 0).bit_length())


@dataclasses.dataclass(frozen=True)
class Prepared:
    """A request as tokens: `row` from `transforms.make_row` without padding, its pictures, its settings."""

    row: dict[str, np.ndarray]
    pictures: Sequence[Picture]
    sampling: SamplingConfig

    @property
    def length(self) -> int:
        """Tokens of the row."""
        return len(self.row["token_ids"])


def plan(requests: Sequence[Prepared], max_rows: int) -> Iterator[list[int]]:
    """Yields the numbers of the requests that share a batch: each once, the longest first.

    Requests with other numbers of beams or another bucket of new tokens need another program, so they stay apart. The
    others are cut into batches in the order of their lengths, so that a batch holds rows of about one length.

    Args:
      requests: All requests.
      max_rows: Most rows of a batch, counting each beam.
    """
    kinds: dict[tuple[int, int], list[int]] = {}
    for number, request in enumerate(requests):
        kinds.setdefault(kind(request.sampling), []).append(number)
    for (num_beams, _), numbers in sorted(kinds.items()):
        # The longest first: memory that is too small shows at once, and not at the end of an evaluation.
        numbers.sort(key=lambda number: (-requests[number].length, number))
        count = max(1, max_rows // num_beams)
        for start in range(0, len(numbers), count):
            yield numbers[start : start + count]


def kind(sampling: SamplingConfig) -> tuple[int, int]:
    """Returns (number of beams, room for new tokens): what a compiled program is made for."""
    return sampling.num_beams, power_bucket(sampling.max_new_tokens, least=8)


def pack(requests: Sequence[Prepared], num_queries: int) -> tuple[dict[str, np.ndarray], list[Picture], int]:
    """Returns (rows padded to their bucket [B, T], the different pictures in them, slots for pictures).

    B, T and the slots come from few values. Rows beyond the requests are padding alone.
    """
    num_rows = power_bucket(len(requests))
    length = length_bucket(max(request.length for request in requests))
    places: dict[str, int] = {}
    pictures: list[Picture] = []
    rows = {
        "token_ids": np.zeros((num_rows, length), np.int32),
        "image_token_index": np.full((num_rows, length), -1, np.int32),
        "segment_ids": np.zeros((num_rows, length), np.int32),
    }
    for number, request in enumerate(requests):
        for picture in request.pictures:
            if picture.key not in places:
                places[picture.key] = len(pictures)
                pictures.append(picture)
        slots = [places[picture.key] for picture in request.pictures]
        row, filled = request.row, slice(0, request.length)
        for name in ("token_ids", "segment_ids"):
            rows[name][number, filled] = row[name]
        rows["image_token_index"][number, filled] = place_pictures(row["image_token_index"], slots, num_queries)
    return rows, pictures, power_bucket(len(pictures), least=num_rows)


def place_pictures(image_token_index: np.ndarray, slots: Sequence[int], num_queries: int) -> np.ndarray:
    """Returns the index into the batch's flattened image_embeds for an index into the row's own pictures.

    Args:
      image_token_index: int32 [T], place in the row's own flattened queries, -1 for text.
      slots: For each picture of the row, its place in the batch's table.
      num_queries: Q.
    """
    if not slots:
        return image_token_index
    own = np.maximum(image_token_index, 0)
    shown = np.asarray(slots, np.int32)[own // num_queries] * num_queries + own % num_queries
    return np.where(image_token_index >= 0, shown, -1)


def settings(
    samplings: Sequence[SamplingConfig],
    *,
    num_rows: int,
    stop_ids: Sequence[int],
    num_ids: int,
    stops: Mapping[str, np.ndarray],
) -> dict[str, np.ndarray]:
    """Returns the settings of a batch as `choosing` takes them; rows beyond the requests are done at once.

    Args:
      samplings: Of the requests.
      num_rows: B.
      stop_ids: Ids that end an answer.
      num_ids: Ids that the tokenizer knows.
      stops: `stop_table` and `stop_state` of the rows (see `stop_texts`).
    """
    room = num_rows - len(samplings)

    def column(name: str, dtype: type, fill: float) -> np.ndarray:
        values = [getattr(sampling, name) for sampling in samplings]
        return np.array(values + [fill] * room, dtype)

    rules = [EARLY_STOPPING[sampling.early_stopping] for sampling in samplings]
    seeds = [sampling.seed & 0xFFFFFFFF for sampling in samplings]
    return {
        "max_new": column("max_new_tokens", np.int32, 0),
        "min_new": column("min_new_tokens", np.int32, 0),
        "temperature": column("temperature", np.float32, 0),
        "top_k": column("top_k", np.int32, 0),
        "top_p": column("top_p", np.float32, 1),
        "repetition_penalty": column("repetition_penalty", np.float32, 1),
        "length_penalty": column("length_penalty", np.float32, 1),
        "early_stopping": np.array(rules + [0] * room, np.int32),
        "seed": np.array(seeds + [0] * room, np.uint32),
        "stop_ids": np.array(stop_ids, np.int32),
        "num_ids": np.array(num_ids, np.int32),
        **stops,
    }
