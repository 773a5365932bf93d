"""VCR: why do people in a film still do what they do? Whoever a text names has a box, and is named by its colour."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from m3it_jax.dataset_building.media import boxes
from m3it_jax.dataset_building.publishers import adapters, raw
from m3it_jax.dataset_building.specification import (
    Assets,
    Box,
    Draft,
    Published,
    RawFile,
    Rejected,
    RowError,
    SourceSpec,
)

PICTURES = "vcr1images"
# The publisher keeps the answers of its test split to itself: the paper's 5,000 test rows cannot be of it.
FILES = {"train": "train.jsonl", "validation": "val.jsonl", "test": "val.jsonl"}
_SHARES = {"validation": 1, "test": 1}
_PALETTE = tuple(boxes.COLOURS)

# What the publisher's tokens set apart and a sentence does not: marks after a word, and endings with an apostrophe.
_MARK = re.compile(r"\s+(?=[.,?!;:)]|n't\b)")
_ENDING = re.compile(r"\s+'\s*(?=(?:s|t|re|ve|ll|d|m)\b)")


def drafts(assets: Assets, split: str, seed: int) -> Iterator[Draft | Rejected]:
    """Yields one draft for each question drawn. Questions about one picture are of one split."""
    folder = raw.RawFolder(SPEC, assets)
    rows = (row for row in folder.json_lines(FILES[split]) if split == "train" or _share(row, seed) == split)
    drawn = adapters.drawn(rows, SPEC, split, seed=seed, key=adapters.publisher_id("annot_id"))
    yield from adapters.converted(drawn, lambda row: _draft(folder, row, FILES[split]))


def _share(row: tuple[str, Any] | Rejected, seed: int) -> str:
    """Returns which half of the publisher's validation set a row is of, by its picture."""
    fields = None if isinstance(row, Rejected) else row[1]
    picture = str(fields.get("img_fn")) if isinstance(fields, Mapping) else ""
    return adapters.share_of(_SHARES, seed=seed, name=SPEC.name, key=picture)


def _draft(folder: raw.RawFolder, row: Any, name: str) -> Draft:
    objects = raw.field(row, "objects", list)
    question = raw.field(row, "question", list)
    choices = raw.field(row, "answer_choices", list)
    place = raw.field(row, "answer_label", int)
    if not 0 <= place < len(choices):
        raise RowError("no-answer", f"answer_label {place} names none of the {len(choices)} answers")
    named = _named((question, *choices), objects)
    colours = dict(zip(named, _PALETTE, strict=False))
    options = tuple(_text(choice, objects, colours) for choice in choices)
    picture = raw.field(row, "img_fn")
    return Draft(
        skill="vcr",
        inputs=f"{_text(question, objects, colours)}\n{adapters.options_text(options)}",
        outputs=adapters.lettered(options)[place],
        images=(folder.picture(f"{PICTURES}/{picture}"),),
        group=picture,
        boxes=_boxes(folder, raw.field(row, "metadata_fn"), named) if named else (),
        box_colours=tuple(colours.values()),
        options=options,
        origin=raw.field(row, "annot_id"),
        origin_split=name.removesuffix(".jsonl"),
    )


def _named(texts: Sequence[Any], objects: Sequence[Any]) -> list[int]:
    """Returns the numbers of the objects that the texts name, ascending."""
    found: set[int] = set()
    for text in texts:
        if not isinstance(text, list):
            raise RowError("wrong-type", f"a text is {type(text).__name__}, must be a list of words and objects")
        for token in text:
            for number in token if isinstance(token, list) else ():
                if type(number) is not int or not 0 <= number < len(objects):
                    raise RowError("bad-box", f"a text names object {number!r} of {len(objects)}")
                found.add(number)
    if len(found) > len(_PALETTE):
        raise RowError("too-many-boxes", f"{len(found)} objects are named, and there are {len(_PALETTE)} colours")
    return sorted(found)


def _text(tokens: Sequence[Any], objects: Sequence[Any], colours: Mapping[int, str]) -> str:
    """Returns a sentence of words and lists of objects, each object as `the person in the red box`."""
    words = []
    for token in tokens:
        if isinstance(token, list):
            words.append(" and ".join(f"the {objects[number]} in the {colours[number]} box" for number in token))
        elif isinstance(token, str):
            words.append(token)
        else:
            raise RowError("wrong-type", f"a word is {type(token).__name__}, must be text")
    text = _ENDING.sub("'", _MARK.sub("", " ".join(words))).strip()
    return text[:1].upper() + text[1:]


def _boxes(folder: raw.RawFolder, name: str, numbers: Sequence[int]) -> tuple[Box, ...]:
    """Returns the boxes of objects from a picture's own file: (left, top, right, bottom) in pixels."""
    path = raw.find(folder.roots, f"{PICTURES}/{name}")
    if path is None:
        raise RowError("boxes-missing", f"there is no {PICTURES}/{name}")
    try:
        if path.stat().st_size > raw.MAX_LINE_BYTES:
            raise RowError("boxes-unreadable", f"{name} has {path.stat().st_size} bytes")
        listed = raw.field(json.loads(path.read_text("utf-8")), "boxes", list)
        return tuple(tuple(round(listed[number][side]) for side in range(4)) for number in numbers)
    except (OSError, ValueError, RecursionError, IndexError, TypeError, OverflowError) as error:
        raise RowError("boxes-unreadable", f"{name}: {error}") from error


SPEC = SourceSpec(
    name="vcr",
    task="reasoning",
    language="en",
    pool="reasoning/vcr",
    drafts=drafts,
    rows={},
    licence="Custom (visualcommonsense.com: research only, after signing)",
    citation="Zellers et al., From Recognition to Cognition, CVPR 2019",
    url="https://visualcommonsense.com",
    known_problems="Boxes are a detector's and now and then sit on the wrong person. Rows that name more objects than "
    "there are colours are left out.",
    published=Published(
        held_out=False,
        counts={"train": 25_000, "validation": 5_000, "test": 5_000},
        raw=(
            RawFile(
                "train.jsonl",
                "212,923 lines {question and answer_choices (words and lists of objects), answer_label, objects, "
                "img_fn, metadata_fn, annot_id, ...} (vcr1annots.zip)",
                split="train",
            ),
            RawFile("val.jsonl", "26,534 lines (vcr1annots.zip)"),
            RawFile(
                f"{PICTURES}/",
                "a folder for each film: JPEGs, and beside each a JSON file {boxes: [[x1, y1, x2, y2, ...]]}",
            ),
        ),
        selection="25,000 questions of train and, as the publisher's test has no answers, 5,000 each of two halves of "
        "val, split by picture. Objects that question or answers name get boxes, each of another colour, and the "
        "texts name them by it; the four answers are options.",
        known_from=(
            "github.com/rowanz/r2c, data/README.md and dataloaders/vcr.py (files and fields)",
            "M3IT paper, section 3.2 (several colours), and the history of the hub's vcr folder (colours in the texts)",
        ),
        unverified=(
            "Where the paper's 5,000 test rows come from.",
            "Its colours, their order, and how its texts name them; whether objects that no text names have boxes too.",
            "Whether the four answers stand in the input; that the answer carries its letter.",
            "How the rows were drawn.",
        ),
    ),
)
