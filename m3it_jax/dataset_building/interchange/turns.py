"""A conversation about pictures, whatever form it came in, and what becomes of it: drafts of records.

Each answer of the assistant becomes one record, since a record has one answer: the user's text before it is the
instruction, and the turns before that stand in `inputs` as lines `Human: ...` and `Assistant: ...`, after a line
`System: ...` if there is one. A record shows the pictures that had been shown by then, so every record of a
conversation is of one split (`meta.group`).
"""

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

from m3it_jax.dataset_building.specification import Draft, PictureSource, RowError

ROLES = ("system", "user", "assistant")

_LINES = {"user": "Human", "assistant": "Assistant", "system": "System"}


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
      images: The pictures, in the order in which they are shown; at least one, and each is shown in one turn.
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
    """Yields the drafts of a conversation.

    Raises:
      RowError: `no-question` or `no-answer`, or `no-image`: the assistant answers before a picture is shown.
    """
    history: list[str] = []
    asked: list[str] = []
    shown = 0
    for number, turn in enumerate(conversation.turns):
        shown += len(turn.pictures)
        if turn.role == "user":
            asked.append(turn.text)
            continue
        if turn.role == "assistant":
            if not "".join(asked):
                raise RowError("no-question", "the assistant answers and nobody asked")
            if not shown:
                raise RowError("no-image", "the assistant answers before a picture is shown")
            yield Draft(
                skill="conversation",
                inputs="\n".join(history),
                outputs=turn.text,
                images=conversation.images[:shown],
                group=conversation.group,
                instruction="\n".join(asked),
                origin=f"{conversation.origin}/{number}",
                origin_split=conversation.split,
                extra={**conversation.extra, **({"changes": conversation.changes} if conversation.changes else {})},
            )
            history.append(f"{_LINES['user']}: " + " ".join(asked))
            asked = []
        history.append(f"{_LINES[turn.role]}: {turn.text}")
    if not any(turn.role == "assistant" for turn in conversation.turns):
        raise RowError("no-answer", "the assistant says nothing")
