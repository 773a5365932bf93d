"""A conversation about pictures, whatever form it came in, and what becomes of it: drafts of records.

A conversation becomes one record, so nothing of it is stored twice: the last question and its answer are the record's
own, the turns before them stand in `meta.turns`, and what the system said before the first question in `meta.system`.
Training lays all of them out as turns of a model's own form (`input_pipeline/rows/transforms.py`).
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from m3it_jax import schema
from m3it_jax.dataset_building.specification import Draft, PictureSource, RowError

ROLES = ("system", "user", "assistant")


@dataclasses.dataclass(frozen=True)
class Turn:
    """What one side said.

    Attributes:
      role: One of `ROLES`.
      text: What was said, stripped. No mark of a picture is left in it: one that stood in the midst of the text is
        named there (`image 2`), one at its begin or end is gone.
      pictures: Which of the conversation's pictures came with this turn, in order, counted from 0.
    """

    role: str
    text: str
    pictures: tuple[int, ...] = ()


@dataclasses.dataclass(frozen=True)
class Conversation:
    """What one row says.

    Attributes:
      turns: What was said, in order.
      images: The pictures, in the order in which they are shown, each in one turn; none where all is text.
      group: The pictures' identity, as of a `Draft`.
      origin: Where the row stands.
      split: The split that it comes from.
      changes: What was done to its texts.
      extra: Further entries of `meta`.
    """

    turns: tuple[Turn, ...]
    images: tuple[bytes | PictureSource, ...]
    group: str
    origin: str
    split: str
    changes: tuple[str, ...] = ()
    extra: Mapping[str, Any] = dataclasses.field(default_factory=dict)


def drafts(conversation: Conversation) -> Iterator[Draft]:
    """Yields the draft of a conversation.

    Raises:
      RowError: `no-question` or `no-answer`.
    """
    turns: list[schema.Turn] = []
    system: list[str] = []
    asked: list[str] = []
    changes = dict.fromkeys(conversation.changes)
    new_pictures = last_answer = 0
    for number, turn in enumerate(conversation.turns):
        new_pictures += len(turn.pictures)
        if turn.role == "assistant":
            if not "".join(asked):
                raise RowError("no-question", "the assistant answers and nobody asked")
            turns.append(schema.Turn("\n".join(filter(None, asked)), "", turn.text, new_pictures))
            asked, new_pictures, last_answer = [], 0, number
        elif turn.role == "system" and not turns and not asked:
            system.append(turn.text)
        else:
            asked.append(turn.text)
            if turn.role == "system":
                changes["text of the system in the midst put before the question behind it"] = None
    if not turns:
        raise RowError("no-answer", "the assistant says nothing")
    if asked:
        changes["question without an answer at the end left out"] = None
    *earlier, own = turns
    images = conversation.images[: len(conversation.images) - new_pictures]
    if earlier:  # the pictures that no turn claims are the first turn's
        earlier[0] = dataclasses.replace(earlier[0], new_pictures=0)
    yield Draft(
        skill="conversation",
        inputs="",
        outputs=own.outputs,
        images=images,
        group=conversation.group,
        instruction=own.instruction,
        origin=f"{conversation.origin}/{last_answer}",
        origin_split=conversation.split,
        turns=tuple(earlier),
        new_pictures=own.new_pictures if earlier else 0,
        system="\n".join(system),
        extra={**conversation.extra, **({"changes": list(changes)} if changes else {})},
    )
