"""What a model is asked: questions in their variants, chunks of similar size, and each thing asked once.

Without their pictures many questions are the same: of the questions of m3it-mini that are shown white pictures, one in
six differs from all others. Decoding is greedy, so one answer is the answer to all that ask the same.
"""

import dataclasses
import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from m3it_jax import records
from m3it_jax.evaluation import controls, corruptions, tasks

# A chunk is answered and written in one piece: large enough to keep a model busy, small enough to lose little.
CHUNK_ROWS = 256
CHUNK_IMAGES = 512


@dataclasses.dataclass(frozen=True)
class Question:
    """One record to be answered, without its pictures: `number` is its place in the table of its source.

    Of a conversation the last answer is wanted; `before` holds `turns`, `new_pictures` and `system` of its `meta`, and
    the begin of the answer where the suite sets one. `people` are the answers of single people, repeated ones repeated,
    where the task compares with those. `slots` are the record's texts for the slots of other instructions.
    """

    id: str
    source: str
    number: int
    skill: str
    family: str
    language: str
    group: str
    instruction: str
    inputs: str
    references: tuple[str, ...]
    num_images: int
    people: tuple[str, ...] = ()
    before: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    slots: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def row(self) -> dict[str, Any]:
        """Returns the fields as a line of the predictions has them."""
        row = dataclasses.asdict(self)
        del row["slots"]
        if not self.people:
            del row["people"]
        return row | row.pop("before")


@dataclasses.dataclass(frozen=True)
class Request:
    """A question in one variant; its pictures are those of `pictures_of` (the question itself but for `shuffled`).

    `strength` is 0 where they are shown as they are, else they are made worse by `corruption` (`corruptions.py`).
    """

    question: Question
    variant: str
    pictures_of: Question
    corruption: str = ""
    strength: int = 0


@dataclasses.dataclass(frozen=True)
class Asked:
    """One thing that a model is asked, as `Model.generate_batch` takes it, and all requests that ask it."""

    content: Mapping[str, Any]
    requests: list[Request]


def chunks(requests: Iterable[Request], ask: Callable[[Request], Mapping[str, Any]]) -> Iterator[list[Asked]]:
    """Yields what is asked, things of similar size together: as many pictures, texts and answers of about one length.

    A batch is decoded until its longest answer has ended, and answers to one skill are of about one length. What is the
    same stands once in a chunk; it has one size, so few of those who ask it fall into two chunks.

    Args:
      requests: All of them.
      ask: Returns what a model is asked for a request (`asked`).
    """
    chunk: dict[Any, Asked] = {}
    num_images = 0
    for request in sorted(requests, key=_size):
        images = request.question.num_images
        rows = max(1, min(CHUNK_ROWS, CHUNK_IMAGES // max(images, 1)))
        if chunk and (len(chunk) >= rows or images != num_images):
            yield list(chunk.values())
            chunk = {}
        num_images, content = images, ask(request)
        texts = {name: value for name, value in content.items() if name != "images"}
        same = (json.dumps(texts, sort_keys=True), tuple(content["images"]))
        chunk.setdefault(same, Asked(content, [])).requests.append(request)
    if chunk:
        yield list(chunk.values())


def _size(request: Request) -> tuple[int, str, int]:
    question = request.question
    earlier = sum(
        len(text) for turn in question.before.get("turns", ()) for text in turn.values() if isinstance(text, str)
    )
    return question.num_images, question.skill, len(question.instruction) + len(question.inputs) + earlier


def asked(request: Request, tables: Mapping[str, records.RecordTable], protocol: tasks.Protocol) -> dict[str, Any]:
    """Returns what a model is asked for a request, its pictures read and changed as the variant wants.

    Raises:
      UserError: a record or a picture cannot be read.
    """
    pictures_of = request.pictures_of
    images = list(tables[pictures_of.source].read(pictures_of.number).images)
    if request.variant == controls.BLANK:
        images = [controls.blank(image) for image in images]
    if request.strength:
        images = [
            corruptions.corrupted(
                image,
                request.corruption,
                strength=request.strength,
                seed=protocol.seed,
                name=f"{pictures_of.id} {place}",
            )
            for place, image in enumerate(images)
        ]
    return {
        "instruction": request.question.instruction,
        "inputs": request.question.inputs,
        "images": images,
        "max_new_tokens": protocol.max_new_tokens,
        **request.question.before,
    }
