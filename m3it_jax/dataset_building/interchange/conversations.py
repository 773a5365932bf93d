"""Conversations about pictures: LLaVA's `conversations` and OpenAI's `messages` -> turns (`turns.Conversation`).

The word <image> in a text says where a picture goes, and there must be as many as pictures. At the begin or end of a
text it is taken out; in the midst of one it becomes `image 2`, the number of the picture in the conversation.
"""

import dataclasses
import functools
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from m3it_jax import errors
from m3it_jax.dataset_building.interchange import request, turns
from m3it_jax.dataset_building.publishers import raw
from m3it_jax.dataset_building.specification import Assets, Draft, PictureSource, RowError, Rows, SourceSpec

PLACEHOLDER = "<image>"  # LLaVA, llava/constants.py: DEFAULT_IMAGE_TOKEN

_BEGIN = re.compile(rf"(?:\s*{PLACEHOLDER})*\s*")
_END = re.compile(rf"(?:\s*{PLACEHOLDER})*\s*$")

_LIFTED = ("url", "image", "images", "image_url")
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
class Said:
    """What one side said, as a row has it.

    Attributes:
      role: One of `turns.ROLES`.
      text: What was said, with `PLACEHOLDER` where a picture goes.
      pictures: The pictures that came inside of the message: a name, base64 or a `data:` URL each.
    """

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


def llava_turns(row: Any) -> tuple[list[Said], list[Any]]:
    """Returns the turns of a row with `conversations`, and its pictures.

    Raises:
      RowError: it has another form.
    """
    said = [
        Said(_role(raw.field(each, "from")), raw.field(each, "value")) for each in raw.field(row, "conversations", list)
    ]
    return said, _row_pictures(row)


def messages_turns(row: Any) -> tuple[list[Said], list[Any]]:
    """Returns the turns of a row with `messages`, and its pictures outside of them (`image`, `images`).

    Raises:
      RowError: it has another form.
    """
    said = []
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
        said.append(Said(_role(raw.field(message, "role")), "\n".join(texts), tuple(pictures)))
    return said, _row_pictures(row)


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
    said, beside = read(row)
    pictures, numbers = _shown(said, beside)
    if not pictures:
        raise RowError("no-image", "has no picture")
    images = [_picture(each, folder) for each in pictures]
    names = [_name(each, image) for each, image in zip(pictures, images, strict=True)]
    changes: dict[str, None] = {}
    return turns.drafts(
        turns.Conversation(
            turns=tuple(
                turns.Turn(each.role, _text(each.text, shown, changes), shown)
                for each, shown in zip(said, numbers, strict=True)
            ),
            images=tuple(images),
            group="+".join(dict.fromkeys(names)),
            origin=place,
            split=split,
            changes=tuple(changes),
            extra={"conversation": str(row.get("id"))[:200]} if row.get("id") is not None else {},
        )
    )


def _text(text: str, shown: tuple[int, ...], changes: dict[str, None]) -> str:
    """Returns the text of a turn without marks of its pictures, of which `shown` are the numbers; notes changes."""
    if PLACEHOLDER not in text:
        return text.strip()
    begin = _BEGIN.match(text)
    before = begin[0].count(PLACEHOLDER) if begin else 0
    rest = text[begin.end() if begin else 0 :]
    end = _END.search(rest)
    behind = end[0].count(PLACEHOLDER) if end else 0
    parts = rest[: end.start() if end else None].split(PLACEHOLDER)
    named = [f"image {number + 1}" for number in shown[before : before + len(parts) - 1]]
    if named:
        changes["places of pictures named in the text"] = None
    if behind:
        changes["picture moved from behind a text to before it"] = None
    return "".join(each for pair in zip(parts, [*named, ""], strict=True) for each in pair)


def _shown(said: Sequence[Said], beside: list[Any]) -> tuple[list[Any], list[tuple[int, ...]]]:
    """Returns all pictures in the order of the conversation, and the numbers of those that come with each turn.

    Raises:
      RowError: `placeholder-count`: <image> stands in the texts, and not once for each picture.
    """
    places = [each.text.count(PLACEHOLDER) for each in said]
    inside = [picture for each in said for picture in each.pictures]
    if inside and beside:
        raise RowError("placeholder-count", "has pictures both in its messages and beside them")
    pictures = inside or beside
    if sum(places) and sum(places) != len(pictures):
        raise RowError("placeholder-count", f"{sum(places)} times {PLACEHOLDER} for {len(pictures)} pictures")
    counts = [len(each.pictures) for each in said] if inside else places
    if not sum(counts):  # no word says where, so they come with the first question
        first = next((number for number, each in enumerate(said) if each.role == "user"), 0)
        counts = [len(pictures) if number == first else 0 for number in range(len(said))]
    begins = [sum(counts[:number]) for number in range(len(said))]
    return pictures, [tuple(range(begin, begin + count)) for begin, count in zip(begins, counts, strict=True)]


def _picture(value: str | bytes, folder: Any) -> bytes | PictureSource:
    """Returns a picture of base64 at once, and one of a name when its record is made."""
    if isinstance(value, str) and not value.startswith(("data:", "http:", "https:")) and folder is not None:
        return request.named_pictures([value], (folder,))[0]
    if isinstance(value, str) and len(value) < 200 and "." in value and not value.startswith(("data:", "http")):
        raise RowError("picture-missing", f"{value!r} is the name of a file; give --images FOLDER")
    return request.picture(value)


def _name(value: str | bytes, image: bytes | PictureSource) -> str:
    return request.group_of([image]) if isinstance(image, bytes) else str(value).replace("+", "_")
