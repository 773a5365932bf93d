"""Files of conversations about pictures, LLaVA's and those of chat APIs -> drafts. `dialogues` reads a row."""

import functools
import itertools
import pathlib
from collections.abc import Iterator
from typing import Any

from m3it_jax import errors, schema
from m3it_jax.dataset_building.interchange import dialogues, json_rows, picture_values, request, turns
from m3it_jax.dataset_building.specification import Assets, Draft, RowError, Rows, SourceSpec

_LOOKED_AT = 100  # rows of a file
_LIFTED = ("url", "image", "images", "image_url")


def llava_specs(asked: request.Request) -> list[SourceSpec]:
    """Returns the source of LLaVA's files: JSON arrays or lines with `image` and `conversations`.

    Raises:
      UserError: a path is missing, its rows are of another format, or nothing says where the pictures are.
    """
    if asked.images is None and not _begins_with_text(asked):
        raise errors.UserError("format llava: its rows name picture files; give --images FOLDER")
    return _specs(asked, "llava")


def _begins_with_text(asked: request.Request) -> bool:
    """Returns whether the first rows are conversations in text alone; a later picture without a folder is told."""
    for file in request.files(asked, suffixes=(".json", ".jsonl"), default_split="train"):
        for row in itertools.islice(json_rows.rows(file.path, lifted=_LIFTED), _LOOKED_AT):
            try:
                if isinstance(row, tuple) and dialogues.read(row[1], "llava").pictures:
                    return False
            except RowError:
                return False
    return True


def messages_specs(asked: request.Request) -> list[SourceSpec]:
    """Returns the source of files with `messages`, `prompt` and `completion`, or `query` and `response`.

    Raises:
      UserError: a path is missing, or its rows are of another format.
    """
    return _specs(asked, "messages")


def _specs(asked: request.Request, form: str) -> list[SourceSpec]:
    files = request.files(asked, suffixes=(".json", ".jsonl"), default_split="train")
    first = next(json_rows.rows(files[0].path, lifted=_LIFTED), None)
    if isinstance(first, tuple) and (other := dialogues.other_form(first[1], form)):
        raise errors.UserError(f"{files[0].path}: its rows have {other[1]!r}: use `m3it import {other[0]}`")
    make = functools.partial(drafts, files=tuple(files), form=form, folder=asked.images)
    return [request.spec(asked, files, make, task="generation")]


def drafts(
    assets: Assets, split: str, seed: int, *, files: tuple[request.File, ...], form: str, folder: pathlib.Path | None
) -> Rows:
    """Yields the drafts of a split; `form` is a key of `dialogues.FORMS`."""
    del assets, seed
    convert = functools.partial(drafts_of, form=form, folder=folder, split=split)
    return request.converted(files, split, convert, lifted=_LIFTED)


def drafts_of(place: str, row: Any, *, form: str, folder: pathlib.Path | None, split: str) -> Iterator[Draft]:
    """Yields the drafts of one row.

    Raises:
      RowError: as `conversation` and `turns.drafts`.
    """
    return turns.drafts(conversation(place, row, form=form, folder=folder, split=split))


def conversation(place: str, row: Any, *, form: str, folder: pathlib.Path | None, split: str) -> turns.Conversation:
    """Returns what a row says, with its pictures; a row that has none and says so becomes a record of text alone.

    Raises:
      RowError: the row has another form, or a picture cannot be one.
    """
    said = dialogues.read(row, form)
    extra: dict[str, Any] = {"conversation": str(row["id"])[:200]} if row.get("id") is not None else {}
    if not said.pictures:
        extra[schema.TEXT_ONLY] = True
    found = [picture_values.of(value, folder) for value in said.pictures]
    return turns.Conversation(
        turns=said.turns,
        images=tuple(image for image, _ in found),
        group="+".join(dict.fromkeys(name for _, name in found)),
        origin=place,
        split=split,
        changes=said.changes,
        extra=extra,
    )
