"""The one record, `Instance`, and its validation. No TensorFlow, no JAX.

Fields follow the unified schema of M3IT (arXiv 2306.04387, section 3.3 and Figure 3), with an id, source, task and
language that the released rows lack.
"""

import dataclasses
import hashlib
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from m3it_jax import errors

SCHEMA_VERSION = 1

# The eight groups of M3IT (arXiv 2306.04387, Table 3).
TASKS = (
    "captioning",
    "classification",
    "vqa",
    "knowledge_vqa",
    "reasoning",
    "generation",
    "chinese",
    "video",
)

SPLITS = ("train", "validation", "test")

# Most pixels of a picture, read from its header before anything is decoded: a few bytes of PNG can ask for gigabytes.
# CHOICE: above an ordinary camera's 24 megapixels; 40 million decoded pixels take 160 MB in Pillow, whose own limit
# (twice 89,478,485, Pillow 13 Image.py) would allow four times as much.
MAX_PIXELS = 40_000_000

_LANGUAGE = re.compile(r"[a-z]{2,3}(-[A-Za-z0-9]{2,8})*")
_SOURCE = re.compile(r"[a-z0-9]+(-[a-z0-9]+)*")
# The entry of `meta` by which a record without a picture is told from one whose picture was lost.
TEXT_ONLY = "text_only"

# What a record's pictures are, as Pillow names it. Whoever opens one says so: some of Pillow's other readers start
# programs (EPS: Ghostscript).
PICTURE_FORMATS = ("PNG", "JPEG")
# How they begin.
PICTURE_BEGINS = (b"\x89PNG\r\n\x1a\n", b"\xff\xd8\xff")


@dataclasses.dataclass(frozen=True)
class Instance:
    """One instruction about one or several pictures, or in text alone where `meta.text_only` says so.

    Attributes:
      id: Stable text derived from the content (`content_id`), unique within a data set.
      source: Name of the data set it comes from: lower case, digits and dashes.
      task: One of `TASKS`.
      language: BCP-47 tag of the texts, for instance `en` or `zh`.
      instruction: What to do; never empty.
      inputs: The text that the instruction is about (a question, options); may be empty.
      outputs: The wanted answer; never empty.
      images: Encoded PNG or JPEG bytes, at least one unless `meta.text_only`; the frames of a video in order.
      meta: Whatever else is known, as JSON: `group` (the picture's identity, which decides the split), `skill`,
        `options`, `references` (all right answers), `captions` (one for each picture), `attributes`, `boxes`,
        `box_colours`, `slots` (texts put into the instruction); of a conversation, `turns` (those before this one, see
        `Turn`), `new_pictures` (how many this one is the first to show) and `system` (what was said before all turns);
        `text_only` (true: there is no picture and none is missing); and its passport: `licence`, `version` (of the
        source), `origin` and `origin_split` (the publisher's own id and split), `changes` (made to texts and pictures,
        in order), `admitted` (reasons that a reviewer set aside).
    """

    id: str
    source: str
    task: str
    language: str
    instruction: str
    inputs: str
    outputs: str
    images: tuple[bytes, ...]
    meta: Mapping[str, Any] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True)
class Turn:
    """One exchange of a conversation: what is asked, about which new pictures, and what is answered.

    Attributes:
      instruction: What to do; never empty in a record.
      inputs: What it is about; may be empty.
      outputs: The answer; empty where it is still to be given.
      new_pictures: How many pictures are first shown in this turn, in front of its text.
    """

    instruction: str
    inputs: str = ""
    outputs: str = ""
    new_pictures: int = 0

    @classmethod
    def of(cls, entry: Mapping[str, Any]) -> "Turn":
        """Returns the turn of an entry of `meta.turns` in which `turn_problems` finds nothing wrong."""
        return cls(**{name: entry[name] for name in (*_TURN_TEXTS, _NEW) if name in entry})

    def entry(self) -> dict[str, Any]:
        """Returns the turn as an entry of `meta.turns`, without empty fields."""
        fields = {name: getattr(self, name) for name in (*_TURN_TEXTS, _NEW)}
        return {name: value for name, value in fields.items() if value}


_TURN_TEXTS, _NEW = ("instruction", "inputs", "outputs"), "new_pictures"
_CONVERSATION = ("turns", "system", _NEW)


def placed(turns: Sequence[Turn], num_images: int) -> tuple[Turn, ...]:
    """Returns the turns of a conversation about `num_images` pictures, each picture in one of them.

    Pictures that no turn says to be new are the first ones, and the first turn shows them.
    """
    free = num_images - sum(turn.new_pictures for turn in turns)
    return (dataclasses.replace(turns[0], new_pictures=turns[0].new_pictures + free), *turns[1:])


def turns_of(instance: Instance) -> tuple[Turn, ...]:
    """Returns all turns of a record: those of `meta.turns`, then its own.

    Raises:
      UserError: the turns are of another form than `problems` allows.
    """
    meta = instance.meta
    if not meta.keys().isdisjoint(_CONVERSATION):
        for _, reason in _turns_problems(instance):
            raise errors.UserError(f"{reason}; see `m3it check`")
    own = Turn(instance.instruction, instance.inputs, instance.outputs, meta.get(_NEW, 0))
    return placed([*map(Turn.of, meta.get("turns", ())), own], len(instance.images))


def content_id(source: str, *parts: str | bytes) -> str:
    """Returns the id of a record: its source and 16 hexadecimal digits of a hash over the parts' content."""
    digest = hashlib.sha256()
    for part in parts:
        raw = part.encode("utf-8") if isinstance(part, str) else part
        digest.update(len(raw).to_bytes(8, "big"))
        digest.update(raw)
    return f"{source}-{digest.hexdigest()[:16]}"


def problems(instance: Instance) -> Iterator[tuple[str, str]]:
    """Yields (reason code, explanation) for each rule that the record breaks; nothing if it is sound."""
    for name in ("id", "source", "task", "language", "instruction", "inputs", "outputs"):
        value = getattr(instance, name)
        if not isinstance(value, str):
            yield "wrong-type", f"{name} is {type(value).__name__}, must be text"
            return
        if not encodable(value):
            yield "bad-text", f"{name} holds a lone surrogate and cannot be written as UTF-8"
    if not instance.id:
        yield "empty-id", "id is empty"
    if not _SOURCE.fullmatch(instance.source):
        yield "bad-source", f"source {instance.source!r} must be lower case letters, digits and single dashes"
    if instance.task not in TASKS:
        yield "unknown-task", f"task {instance.task!r} is not one of {', '.join(TASKS)}"
    if not _LANGUAGE.fullmatch(instance.language):
        yield "bad-language", f"language {instance.language!r} is no BCP-47 tag such as en or zh"
    if not instance.instruction.strip():
        yield "empty-instruction", "instruction is empty"
    if not instance.outputs.strip():
        yield "empty-output", "outputs is empty"
    told = instance.meta.get(TEXT_ONLY) if isinstance(instance.meta, Mapping) else None
    if not instance.images and told is not True:
        yield "no-image", f"a record needs at least one picture, or meta.{TEXT_ONLY}: true"
    if instance.images and told is True:
        yield "bad-meta", f"meta.{TEXT_ONLY} is true, the record has {len(instance.images)} pictures"
    for number, image in enumerate(instance.images):
        if not isinstance(image, bytes) or not image.startswith(PICTURE_BEGINS):
            yield "not-an-image", f"images[{number}] is neither PNG nor JPEG by its first bytes"
    if not isinstance(instance.meta, Mapping):
        yield "bad-meta", f"meta is {type(instance.meta).__name__}, must be an object"
        return
    try:
        json.dumps(dict(instance.meta), allow_nan=False)
    except (TypeError, ValueError) as error:
        yield "bad-meta", f"meta is no JSON object: {error}"
    yield from _turns_problems(instance)


def _turns_problems(instance: Instance) -> Iterator[tuple[str, str]]:
    """Yields what is wrong with the known entries of a record's `meta`, and with how they share out the pictures."""
    broken = list(meta_problems(instance.meta))
    yield from broken
    new = 0 if broken else sum(turn.get(_NEW, 0) for turn in (instance.meta, *instance.meta.get("turns", ())))
    if new > len(instance.images):
        yield (
            "bad-meta",
            f"meta.{_NEW} and those of meta.turns are {new}, the record has {len(instance.images)} pictures",
        )


def meta_problems(meta: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yields (reason code, explanation) for each known entry of `Instance.meta` that is of another type."""
    for names, sound, wanted in _META:
        for name in names:
            if name in meta and not sound(meta[name]):
                yield "bad-meta", f"meta.{name} is {type(meta[name]).__name__}, must be {wanted}"
    if "turns" in meta:
        yield from turn_problems(meta["turns"])


def turn_problems(turns: Any, name: str = "meta.turns") -> Iterator[tuple[str, str]]:
    """Yields (reason code, explanation) for each rule that the earlier turns of a conversation break.

    Args:
      turns: Of any type; must be a list of objects with `instruction`, `outputs`, perhaps `inputs`, `new_pictures`.
      name: What the explanation calls them.
    """
    if not isinstance(turns, list | tuple):
        yield "bad-meta", f"{name} is {type(turns).__name__}, must be a list of turns"
        return
    known = (*_TURN_TEXTS, _NEW)
    for number, turn in enumerate(turns):
        at = f"{name}[{number}]"
        if not isinstance(turn, Mapping):
            yield "bad-meta", f"{at} is {type(turn).__name__}, must be an object with {', '.join(known)}"
            continue
        for field in turn:
            if field not in known:
                yield "bad-meta", f"{at}.{str(field)[:40]} is unknown, the fields of a turn are {', '.join(known)}"
        for field in _TURN_TEXTS:
            text = turn.get(field, "")
            if not isinstance(text, str):
                yield "bad-meta", f"{at}.{field} is {type(text).__name__}, must be text"
            elif not encodable(text):
                yield "bad-text", f"{at}.{field} holds a lone surrogate and cannot be written as UTF-8"
            elif field != "inputs" and not text.strip():
                yield f"empty-{field.removesuffix('s')}", f"{at}.{field} is empty"
        if not _number(turn.get(_NEW, 0)):
            yield "bad-meta", f"{at}.{_NEW} is {str(turn[_NEW])[:40]}, must be {_NUMBER}"


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _true(value: Any) -> bool:
    return value is True


def _number(value: Any) -> bool:
    return type(value) is int and value >= 0


def _texts(value: Any) -> bool:
    return isinstance(value, list | tuple) and all(map(_text, value))


def _labels(value: Any) -> bool:
    return (
        isinstance(value, Mapping) and all(map(_text, value)) and all(isinstance(v, str | int) for v in value.values())
    )


_NUMBER = "a whole number, 0 or more"

_META: tuple[tuple[tuple[str, ...], Callable[[Any], bool], str], ...] = (
    (("captions", "references", "options"), _texts, "a list of texts"),
    (("attributes", "slots"), _labels, "an object of texts or whole numbers"),
    (("changes", "box_colours", "admitted"), _texts, "a list of texts"),
    (("skill", "group", "origin", "origin_split", "licence", "version", "system"), _text, "text"),
    ((_NEW,), _number, _NUMBER),
    ((TEXT_ONLY,), _true, "true, or left out where there are pictures"),
)


def encodable(text: str) -> bool:
    """Returns whether a text can be written as UTF-8: one with a lone surrogate comes from bytes that are no UTF-8."""
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
