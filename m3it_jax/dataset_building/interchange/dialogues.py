r"""One row with a conversation, in any of the forms in use -> its turns, and its pictures as the row has them.

    {"image": "0.jpg", "conversations": [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", ...}]}
    {"messages": [{"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]}, ...],
     "images": ["0.jpg"]}
    {"prompt": [messages], "completion": [messages], "images": [...]}          TRL
    {"query": "<image>What is it?", "response": "A ball.", "images": [...]}    ms-swift
    {"texts": [{"user": "What is it?", "assistant": "A ball."}], "images": [...]}    The Cauldron

Where a picture goes is told by the word <image> in a text, or by a part of the message; each picture has one place.
At the begin of a turn the mark is taken out, at the end too (and `changes` says so), in the midst it becomes `image 2`,
the number of the picture in the conversation. Where nothing tells a place, all pictures come with the first question.

A row is text alone if it says so: it has neither field of pictures, or null or an empty list there, and no mark.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from m3it_jax.dataset_building.interchange import image_endings
from m3it_jax.dataset_building.interchange.turns import Turn
from m3it_jax.dataset_building.publishers import raw
from m3it_jax.dataset_building.specification import RowError

PLACEHOLDER = "<image>"  # LLaVA, llava/constants.py: DEFAULT_IMAGE_TOKEN
_VIDEO = "<video>"

# LLaVA and ShareGPT say human and gpt, later sets user and assistant, OpenAI's newer models developer.
_ROLES = {
    **dict.fromkeys(("human", "user"), "user"),
    **dict.fromkeys(("gpt", "assistant", "model", "bot", "chatgpt"), "assistant"),
    **dict.fromkeys(("system", "developer"), "system"),
}
_BESIDE = ("image", "images")


@dataclasses.dataclass(frozen=True)
class Dialogue:
    """What a row says.

    Attributes:
      turns: What was said.
      pictures: The pictures in the order in which they are shown, each as the row has it (`picture_values`).
      changes: What was done to the texts.
    """

    turns: tuple[Turn, ...]
    pictures: tuple[Any, ...]
    changes: tuple[str, ...]


@dataclasses.dataclass(frozen=True)
class _Picture:
    """A picture's place in a text: its own value, or the number of one beside the texts, or the next of those."""

    value: Any = None
    number: int | None = None


_Part = str | _Picture


@dataclasses.dataclass(frozen=True)
class _Said:
    role: str
    parts: tuple[_Part, ...]


def read(row: Any, form: str) -> Dialogue:
    """Returns what a row says; `form` is a key of `FORMS`.

    Raises:
      RowError: the row is of another form, or its pictures and their places do not fit.
    """
    if not isinstance(row, Mapping):
        raise RowError("wrong-type", f"the row is {type(row).__name__}, must be an object")
    key = next((key for key in FORMS[form] if row.get(key) is not None), None)
    if key is None:
        if other := other_form(row, form):
            raise RowError("other-format", f"has {other[1]!r}: use `m3it import {other[0]}`")
        wanted = " or ".join(map(repr, FORMS[form]))
        raise RowError("missing-field", f"has no field {wanted}; its fields: {fields_of(row)}")
    said = [each for each in _READERS[key](row) if each.parts]
    if isinstance(row.get("system"), str) and row["system"].strip():
        said.insert(0, _Said("system", (row["system"],)))
    return _dialogue(said, _beside(row), row)


def other_form(row: Any, form: str) -> tuple[str, str] | None:
    """Returns (format, field) if a row is of another format than `form`, by the field that it has."""
    if not isinstance(row, Mapping) or any(row.get(key) is not None for key in FORMS[form]):
        return None
    others = ((name, key) for name, keys in FORMS.items() if name in ("llava", "messages") for key in keys)
    return next(((name, key) for name, key in others if isinstance(row.get(key), list)), None)


def fields_of(row: Mapping[str, Any]) -> str:
    """Returns the names of a row's fields, for a message."""
    names = [str(name)[:40] for name in row]
    return ", ".join(names[:20]) + (f" and {len(names) - 20} more" if len(names) > 20 else "") or "none"


def named_places(text: str, number: int, changes: dict[str, None]) -> tuple[str, int]:
    """Returns a text without marks, and how many there were; `number` pictures were shown before. Notes changes."""
    parts = _marked(text)
    marks = sum(isinstance(part, _Picture) for part in parts)
    return _text(parts, tuple(range(number, number + marks)), changes), marks


# -- the forms


def _conversations(row: Mapping[str, Any]) -> list[_Said]:
    said = []
    for each in raw.field(row, "conversations", list):
        if isinstance(each, Mapping) and "from" not in each and "role" in each:  # MiniCPM-V's
            said.append(_message(each))
        else:
            said.append(_Said(_role(raw.field(each, "from")), _marked(raw.field(each, "value"))))
    return said


def _messages(row: Mapping[str, Any]) -> list[_Said]:
    return [_message(each) for each in raw.field(row, "messages", list)]


def _prompted(row: Mapping[str, Any]) -> list[_Said]:
    said = []
    for name, role in (("prompt", "user"), ("completion", "assistant")):
        value = raw.field(row, name, (str, list))
        said += [_Said(role, _marked(value))] if isinstance(value, str) else [_message(each) for each in value]
    return said


def _queried(row: Mapping[str, Any]) -> list[_Said]:
    said = []
    history = row.get("history") or []
    pairs = history if isinstance(history, list) else [history]
    for pair in [*pairs, [raw.field(row, "query"), raw.field(row, "response")]]:
        if not isinstance(pair, list) or len(pair) != 2 or not all(isinstance(each, str) for each in pair):
            raise RowError("wrong-type", f"field 'history' holds {str(pair)[:80]!r}, must be pairs of texts")
        said += [_Said("user", _marked(pair[0])), _Said("assistant", _marked(pair[1]))]
    return said


def _cauldron(row: Mapping[str, Any]) -> list[_Said]:
    said = []
    for pair in raw.field(row, "texts", list):
        said += [_Said("user", _marked(raw.field(pair, "user"))), _Said("assistant", (raw.field(pair, "assistant"),))]
    return said


_READERS: dict[str, Callable[[Mapping[str, Any]], list[_Said]]] = {
    "conversations": _conversations,
    "messages": _messages,
    "completion": _prompted,
    "response": _queried,
    "texts": _cauldron,
}

# Format -> the fields that hold a conversation, each a key of `_READERS`; the first that a row has is read.
FORMS: dict[str, tuple[str, ...]] = {
    "llava": ("conversations",),
    "messages": ("messages", "completion", "response"),
    "parquet": ("conversations", "messages", "texts", "completion", "response"),
}


def _role(word: str) -> str:
    if word.lower() not in _ROLES:
        raise RowError("unknown-role", f"role {word[:40]!r} is none of {', '.join(_ROLES)}")
    return _ROLES[word.lower()]


def _marked(text: str) -> tuple[_Part, ...]:
    """Returns a text, cut at each mark of a picture."""
    if PLACEHOLDER not in text:
        return (text,)
    parts: list[_Part] = []
    for piece in text.split(PLACEHOLDER):
        parts += [piece, _Picture()]
    return tuple(parts[:-1])


def _message(message: Any) -> _Said:
    role = _role(raw.field(message, "role"))
    content = raw.field(message, "content", (str, list))
    if isinstance(content, str):
        return _Said(role, _marked(content))
    parts: list[_Part] = []
    for number, each in enumerate(content):
        parts += [*(["\n"] if number else []), each if isinstance(each, str) else _part(each)]
    texts = [part for part in parts if isinstance(part, str)]
    pictures = [part for part in parts if isinstance(part, _Picture)]
    marks = sum(text.count(PLACEHOLDER) for text in texts)
    if pictures and marks == len(pictures):  # both tell the places: the words do
        following = iter(pictures)
        marked = [each for text in texts for each in _marked(text)]
        return _Said(role, tuple(next(following) if isinstance(each, _Picture) else each for each in marked))
    if pictures and marks:
        raise RowError("placeholder-count", f"{marks} times {PLACEHOLDER} for {len(pictures)} pictures in a message")
    return _Said(role, tuple(parts) if pictures else tuple(each for text in texts for each in _marked(text)))


def _part(part: Any) -> _Part:
    kind = raw.field(part, "type")
    if kind in ("text", "input_text", "output_text"):
        return raw.field(part, "text")
    if kind not in ("image_url", "input_image", "image"):
        raise RowError("unsupported-part", f"a part of type {kind[:40]!r} is neither text nor picture")
    value = {name: each for name, each in part.items() if each is not None and name not in ("type", "text", "index")}
    if any(name in value for name in ("bytes", "base64", "data", "url", "path", "image", "image_url", "source")):
        return _Picture(value)
    number = part.get("index")
    return _Picture(number=number if isinstance(number, int) and not isinstance(number, bool) else None)


def _beside(row: Mapping[str, Any]) -> list[Any]:
    """Returns the pictures that stand beside the texts."""
    held = {}
    for name in _BESIDE:
        value = row.get(name)
        if value is not None and not isinstance(value, str | bytes | Mapping | list):
            raise RowError(
                "wrong-type", f"field {name!r} is {type(value).__name__}, must be a picture or a list of them"
            )
        if value:
            held[name] = value if isinstance(value, list) else [value]
    found = list(held.values())
    if len(found) == 2 and found[0] != found[1]:
        raise RowError("placeholder-count", "has pictures under both 'image' and 'images'")
    return [each for each in found[0] if each is not None] if found else []


# -- the places of the pictures


def _dialogue(said: list[_Said], beside: list[Any], row: Mapping[str, Any]) -> Dialogue:
    places = [part for each in said for part in each.parts if isinstance(part, _Picture)]
    if not places and beside:  # no word says where, so they come with the first question
        first = next((number for number, each in enumerate(said) if each.role == "user"), None)
        if first is None:
            raise RowError("no-question", "the assistant answers and nobody asked")
        said[first] = _Said("user", (*(_Picture(number=each) for each in range(len(beside))), *said[first].parts))
        places = [_Picture(number=each) for each in range(len(beside))]
    pictures = _values(places, beside, row)
    answers = [number for number, each in enumerate(said, start=1) if each.role == "assistant"]
    if not answers:
        raise RowError("no-answer", "the assistant says nothing")
    changes: dict[str, None] = {}
    if answers[-1] < len(said):
        changes["what follows the last answer left out"] = None
    turns: list[Turn] = []
    shown = 0
    for each in said[: answers[-1]]:
        numbers = tuple(range(shown, shown + sum(isinstance(part, _Picture) for part in each.parts)))
        if numbers and each.role == "assistant":
            raise RowError("unsupported-part", "the assistant shows a picture; an answer is text alone")
        shown += len(numbers)
        turns.append(Turn(each.role, _text(each.parts, numbers, changes), numbers))
    return Dialogue(tuple(turns), tuple(pictures[:shown]), tuple(changes))


def _values(places: Sequence[_Picture], beside: list[Any], row: Mapping[str, Any]) -> list[Any]:
    """Returns the pictures in the order of their places.

    Raises:
      RowError: there are more or fewer places than pictures.
    """
    inside = [place for place in places if place.value is not None]
    if inside and beside:
        raise RowError("placeholder-count", "has pictures both in its messages and beside them")
    if inside and len(inside) == len(places):
        return [place.value for place in places]
    numbered = [place.number if place.number is not None else each for each, place in enumerate(places)]
    if not beside and (hidden := image_endings.hidden(row, _BESIDE)):
        raise RowError("no-image", f"has no picture under image or images; field {hidden[0]!r} holds {hidden[1]!r}")
    if sorted(set(numbered)) != list(range(len(beside))):
        raise RowError("placeholder-count", f"{len(places)} times {PLACEHOLDER} for {len(beside)} pictures")
    for name in _BESIDE if not beside else ():
        if row.get(name) not in (None, []):
            raise RowError(
                "no-image",
                f"field {name!r} holds {row[name]!r:.80}, which is no picture; leave it out, "
                "or null, where there is none",
            )
    if not beside and (row.get("video") or row.get("videos")):
        raise RowError("unsupported-part", "names a video; give its frames as pictures")
    return [beside[number] for number in numbered]


def _text(parts: Sequence[_Part], numbers: tuple[int, ...], changes: dict[str, None]) -> str:
    """Returns a turn's text; a picture in the midst of it, of which `numbers` are the numbers, is named there."""
    left, names = list(parts), [f"image {number + 1}" for number in numbers]
    while left and (isinstance(left[0], _Picture) or not left[0].strip()):
        if isinstance(left.pop(0), _Picture):
            names.pop(0)
    while left and (isinstance(left[-1], _Picture) or not left[-1].strip()):
        if isinstance(left.pop(), _Picture):
            names.pop()
            changes["picture moved from behind a text to before it"] = None
    if names:
        changes["places of pictures named in the text"] = None
    following = iter(names)
    return "".join(each if isinstance(each, str) else next(following) for each in left).strip()
