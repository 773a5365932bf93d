"""Conversations about pictures: LLaVA's `conversations` and OpenAI's `messages`.

Each answer of the assistant becomes one record, since a record has one answer: the user's text before it is the
instruction, and the turns before that stand in `inputs` as lines `Human: ...` and `Assistant: ...`, after a line
`System: ...` if there is one. A record shows the pictures that had been shown by then, so every record of a
conversation is of one split (`meta.group`).

The word <image> in a text says where a picture goes; it is taken out, and there must be as many as pictures.
"""

import dataclasses
import functools
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from m3it_jax import errors
from m3it_jax.dataset_building.interchange import request
from m3it_jax.dataset_building.publishers import raw
from m3it_jax.dataset_building.specification import Assets, Draft, PictureSource, RowError, Rows, SourceSpec

PLACEHOLDER = "<image>"  # LLaVA, llava/constants.py: DEFAULT_IMAGE_TOKEN

_LIFTED = ("url", "image", "images", "image_url")
_LINES = {"user": "Human", "assistant": "Assistant", "system": "System"}
# LLaVA says human and gpt, later sets user and assistant.
_ROLES = {
    "human": "user",
    "user": "user",
    "gpt": "assistant",
    "assistant": "assistant",
    "model": "assistant",
    "system": "system",
}


@dataclasses.dataclass(frozen=True)
class Turn:
    """What one side said, with the texts of the pictures that came with it (a name, base64 or a `data:` URL)."""

    role: str
    text: str
    pictures: tuple[Any, ...] = ()


def llava_specs(asked: request.Request) -> list[SourceSpec]:
    """Returns the source of LLaVA's files: JSON arrays or lines with `image` and `conversations`.

    Raises:
      UserError: a path is missing, or nothing says where the pictures are.
    """
    if asked.images is None:
        raise errors.UserError("format llava: its rows name picture files; give --images FOLDER")
    return _specs(asked, llava_turns)


def messages_specs(asked: request.Request) -> list[SourceSpec]:
    """Returns the source of files with `messages`, whose parts are text, `image_url` or `image`.

    Raises:
      UserError: a path is missing.
    """
    return _specs(asked, messages_turns)


def _specs(asked: request.Request, read: Any) -> list[SourceSpec]:
    files = request.files(asked, suffixes=(".json", ".jsonl"), default_split="train")
    make = functools.partial(drafts, files=tuple(files), read=read, folder=asked.images)
    return [request.spec(asked, files, make, task="generation")]


def drafts(assets: Assets, split: str, seed: int, *, files: tuple[request.File, ...], read: Any, folder: Any) -> Rows:
    """Yields the drafts of a split; `read(row)` returns the turns of a row and its pictures outside of them."""
    del assets, seed
    convert = functools.partial(_drafts, read=read, folder=folder, split=split)
    return request.converted(files, split, convert, lifted=_LIFTED)


def llava_turns(row: Any) -> tuple[list[Turn], list[Any]]:
    """Returns the turns of a row with `conversations`, and its pictures.

    Raises:
      RowError: it has another form.
    """
    turns = [
        Turn(_role(raw.field(each, "from")), raw.field(each, "value")) for each in raw.field(row, "conversations", list)
    ]
    return turns, _row_pictures(row)


def messages_turns(row: Any) -> tuple[list[Turn], list[Any]]:
    """Returns the turns of a row with `messages`, and its pictures outside of them (`image`, `images`).

    Raises:
      RowError: it has another form.
    """
    turns = []
    for message in raw.field(row, "messages", list):
        content = raw.field(message, "content", (str, list))
        parts = [{"type": "text", "text": content}] if isinstance(content, str) else content
        texts: list[str] = []
        pictures: list[Any] = []
        for part in parts:
            kind = raw.field(part, "type")
            if kind in ("text", "input_text", "output_text"):
                texts.append(raw.field(part, "text"))
            elif kind in ("image_url", "input_image", "image"):
                pictures.append(_part_picture(part))
            else:
                raise RowError("unsupported-part", f"a part of type {kind[:40]!r} is neither text nor picture")
        turns.append(Turn(_role(raw.field(message, "role")), "\n".join(texts), tuple(pictures)))
    return turns, _row_pictures(row)


def _part_picture(part: Mapping[str, Any]) -> Any:
    value = part.get("image_url", part.get("image"))
    if isinstance(value, Mapping):
        value = value.get("url")
    if not isinstance(value, str | bytes) or not value:
        raise RowError("missing-field", "a picture's part has neither url nor image")
    return value


def _row_pictures(row: Mapping[str, Any]) -> list[Any]:
    value = row.get("image") or row.get("images") or []
    found = value if isinstance(value, list) else [value]
    if not all(isinstance(each, str | bytes) for each in found):
        raise RowError("wrong-type", "field 'image' must be text or a list of texts")
    return found


def _role(word: str) -> str:
    if word.lower() not in _ROLES:
        raise RowError("unknown-role", f"role {word[:40]!r} is none of {', '.join(_ROLES)}")
    return _ROLES[word.lower()]


def _drafts(place: str, row: Any, *, read: Any, folder: Any, split: str) -> Iterator[Draft]:
    turns, beside = read(row)
    pictures, shown = _shown(turns, beside)
    if not pictures:
        raise RowError("no-image", "has no picture")
    images = [_picture(each, folder) for each in pictures]
    names = [_name(each, image) for each, image in zip(pictures, images, strict=True)]
    history: list[str] = []
    asked: list[str] = []
    for number, turn in enumerate(turns):
        text = turn.text.replace(f"{PLACEHOLDER}\n", "").replace(f"\n{PLACEHOLDER}", "").replace(PLACEHOLDER, "")
        text = text.strip()
        if turn.role == "user":
            asked.append(text)
            continue
        if turn.role == "assistant":
            if not asked or not "".join(asked):
                raise RowError("no-question", "the assistant answers and nobody asked")
            yield Draft(
                skill="conversation",
                inputs="\n".join(history),
                outputs=text,
                images=tuple(images[: shown[number]]),
                group="+".join(dict.fromkeys(names)),
                instruction="\n".join(asked),
                origin=f"{place}/{number}",
                origin_split=split,
                extra={"conversation": str(row.get("id"))[:200]} if row.get("id") is not None else {},
            )
            history.append(f"{_LINES['user']}: " + " ".join(asked))
            asked = []
        history.append(f"{_LINES[turn.role]}: {text}")
    if not any(turn.role == "assistant" for turn in turns):
        raise RowError("no-answer", "the assistant says nothing")


def _shown(turns: Sequence[Turn], beside: list[Any]) -> tuple[list[Any], list[int]]:
    """Returns all pictures in the order of the conversation, and how many of them are shown up to each turn.

    Raises:
      RowError: `placeholder-count`: <image> stands in the texts, and not once for each picture.
    """
    places = [turn.text.count(PLACEHOLDER) for turn in turns]
    inside = [picture for turn in turns for picture in turn.pictures]
    if inside and beside:
        raise RowError("placeholder-count", "has pictures both in its messages and beside them")
    pictures = inside or beside
    if sum(places) and sum(places) != len(pictures):
        raise RowError("placeholder-count", f"{sum(places)} times {PLACEHOLDER} for {len(pictures)} pictures")
    counts = [len(turn.pictures) for turn in turns] if inside else places
    if not sum(counts):  # no word says where, so they are there from the begin
        return pictures, [len(pictures)] * len(turns)
    shown = [sum(counts[: number + 1]) for number in range(len(turns))]
    if any(turn.role == "assistant" and not seen for turn, seen in zip(turns, shown, strict=True)):
        raise RowError("no-image", "the assistant answers before a picture is shown")
    return pictures, shown


def _picture(value: str | bytes, folder: Any) -> bytes | PictureSource:
    """Returns a picture of base64 at once, and one of a name when its record is made."""
    if isinstance(value, str) and not value.startswith(("data:", "http:", "https:")) and folder is not None:
        return request.named_pictures([value], (folder,))[0]
    if isinstance(value, str) and len(value) < 200 and "." in value and not value.startswith(("data:", "http")):
        raise RowError("picture-missing", f"{value!r} is the name of a file; give --images FOLDER")
    return request.picture(value)


def _name(value: str | bytes, image: bytes | PictureSource) -> str:
    return request.group_of([image]) if isinstance(image, bytes) else str(value).replace("+", "_")
