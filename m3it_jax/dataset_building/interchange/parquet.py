"""Parquet with pictures inside: the forms of the hub, and what `m3it export parquet` writes.

A picture column is the hub's `Image` feature, {bytes, path}, a picture's bytes, or a list of either. The texts of a row
are a conversation (`dialogues`), or an answer to a question, or a caption. Files of our own bring whole records, and
each source of theirs is a source again; of others, all files are one source.
"""

import collections
import functools
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from m3it_jax import errors, schema
from m3it_jax.dataset_building.interchange import conversations, dialogues, m3it_rules, own, picture_values, request
from m3it_jax.dataset_building.specification import Assets, Draft, Rejected, RowError, SourceSpec

_PICTURE_COLUMNS = ("images", "image")
_NUMBERED = re.compile(r"image_?(\d+)")
_CAPTION_COLUMNS = ("caption", "captions", "text")
_ANSWER_COLUMNS = ("answers", "multiple_choice_answer")

_CAPTION_POOL = "captioning/coco"

# CHOICE: rows that are held at once; sixteen with eight frames of 500 KB each are 64 MB.
BATCH_ROWS = 16


def specs(asked: request.Request) -> list[SourceSpec]:
    """Returns the sources of the files.

    Raises:
      UserError: a path is missing, a file is no Parquet or has no picture column or no text, or pyarrow is not
        installed.
    """
    files = request.files(asked, suffixes=(".parquet",), default_split="train")
    mine: dict[str, list[request.File]] = {}
    first: dict[str, Any] = {}
    others = []
    forms = set()
    for file in files:
        table = _opened(file)
        names = table.schema_arrow.names
        if not _picture_columns(names):
            raise errors.UserError(
                f"{file.path}: has no column images or image; its columns: {', '.join(names)[:500] or 'none'}"
            )
        if set(own.TEXTS) <= set(names) and table.metadata.num_rows:
            row = next(table.iter_batches(1, columns=list(own.TEXTS))).to_pylist()[0]
            first.setdefault(str(row["source"]), row)
            mine.setdefault(str(row["source"]), []).append(file)
        else:
            forms.add(_form(file, names))
            others.append(file)
    found = [
        request.own_spec(asked, inside, functools.partial(drafts, files=tuple(inside), source=name), row=first[name])
        for name, inside in mine.items()
    ]
    if others:
        make = functools.partial(drafts, files=tuple(others), source=asked.name(), folder=asked.images)
        is_captioning = forms == {"caption"}
        pool = _CAPTION_POOL if "caption" in forms else ""
        found.append(request.spec(asked, others, make, task="captioning" if is_captioning else "generation", pool=pool))
    return found


def _form(file: request.File, names: Sequence[str]) -> str:
    """Returns what the rows of a file say: `conversation`, `answer` or `caption`.

    Raises:
      UserError: no column holds any of it.
    """
    if set(dialogues.FORMS["parquet"]) & set(names):
        return "conversation"
    if {"instruction", *m3it_rules.INPUT_KEYS} & set(names) and {*m3it_rules.OUTPUT_KEYS, *_ANSWER_COLUMNS} & set(
        names
    ):
        return "answer"
    if set(_CAPTION_COLUMNS) & set(names):
        return "caption"
    raise errors.UserError(
        f"{file.path}: has no column with texts; give conversations, messages, texts, question and answer, "
        f"instruction and outputs, or caption; its columns: {', '.join(names)[:500]}"
    )


def _picture_columns(names: Sequence[str]) -> list[str]:
    """Returns the columns with pictures: `images`, `image`, or else `image_1`, `image_2` and so on, in order."""
    if found := [name for name in _PICTURE_COLUMNS if name in names]:
        return found
    numbered = {int(match[1]): name for name in names if (match := _NUMBERED.fullmatch(name))}
    return [numbered[number] for number in sorted(numbered)]


def _opened(file: request.File) -> Any:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError as error:
        raise errors.UserError(
            "package pyarrow is needed to read Parquet: pip install -e '.[build]' in the repository"
        ) from error
    try:
        return pq.ParquetFile(file.path, pre_buffer=False, buffer_size=1 << 20)
    except (OSError, pa.ArrowException) as error:
        raise errors.UserError(f"{file.path}: is no whole Parquet file ({error}); get it again") from error


def drafts(
    assets: Assets,
    split: str,
    seed: int,
    *,
    files: tuple[request.File, ...],
    source: str,
    folder: pathlib.Path | None = None,
) -> Iterator[Draft | schema.Instance | Rejected]:
    """Yields the rows of a split, in the files' order; each row that a damaged file has lost is told."""
    del assets, seed
    for file in files:
        if file.split == split:
            for number, row in _rows(file):
                place = f"{file.name}:{number}"
                if isinstance(row, str):
                    yield Rejected(place, "broken-file", f"cannot be read ({row}); get the file again")
                    continue
                try:
                    found = list(_drafts(place, row, source=source, split=split, folder=folder))
                except RowError as error:
                    yield Rejected(place, error.reason, str(error))
                else:
                    yield from found


def _rows(file: request.File) -> Iterator[tuple[int, dict[str, Any] | str]]:
    """Yields (number, row) of a file, or what is wrong in place of a row; each group of rows is read on its own."""
    table, begin = _opened(file), 0
    wanted = [name for name in table.schema_arrow.names if name in _columns(table.schema_arrow.names)]
    for group in range(table.metadata.num_row_groups):
        number, end = begin, begin + table.metadata.row_group(group).num_rows
        try:
            for batch in table.iter_batches(BATCH_ROWS, row_groups=[group], columns=wanted, use_threads=False):
                for row in batch.to_pylist():
                    yield number, row
                    number += 1
        except (OSError, ValueError) as error:  # pyarrow's own errors are of both kinds
            while number < end:
                yield number, str(error)[:200]
                number += 1
        begin = end


def _columns(names: Sequence[str]) -> set[str]:
    texts = (*own.TEXTS, *m3it_rules.INPUT_KEYS, *m3it_rules.OUTPUT_KEYS, *_CAPTION_COLUMNS, *_ANSWER_COLUMNS)
    talked = (*dialogues.FORMS["parquet"], "prompt", "query", "history", "system", "video", "videos")
    return {*texts, *talked, *_picture_columns(names)}


def _drafts(
    place: str, row: dict[str, Any], *, source: str, split: str, folder: pathlib.Path | None
) -> Iterator[Draft | schema.Instance]:
    pictures = [_value(each) for each in _pictures(row)]
    if own.is_own(row):
        stored = (picture_values.of(each, None)[0] for each in pictures)
        yield own.instance(row, tuple(each for each in stored if isinstance(each, bytes)), source=source)
    elif any(row.get(name) is not None for name in dialogues.FORMS["parquet"]):
        texts = {name: value for name, value in row.items() if not _NUMBERED.fullmatch(name)}
        _check_text_only(row, pictures)
        said = {**texts, "image": None, "images": pictures}
        yield from conversations.drafts_of(place, said, form="parquet", folder=folder, split=split)
    elif not pictures:
        _check_text_only(row, pictures)
        texts = _answered(row)
        if not texts:
            raise RowError("text-only", "has a caption and no picture")
        extra = {schema.TEXT_ONLY: True}
        yield Draft(
            skill=source, **_placed(texts, 0), images=(), group="", origin=place, origin_split=split, extra=extra
        )
    else:
        found = [picture_values.of(each, folder) for each in pictures]
        group = "+".join(dict.fromkeys(name for _, name in found))
        images = tuple(image for image, _ in found)
        texts = _placed(_answered(row) or _captioned(row), len(found))
        yield Draft(skill=source, **texts, images=images, group=group, origin=place, origin_split=split)


def _pictures(row: Mapping[str, Any]) -> list[Any]:
    found: list[Any] = []
    for name in _picture_columns(list(row)):
        value = row[name]
        found += value if isinstance(value, list) else [value]
        if found and name in _PICTURE_COLUMNS and any(each is not None for each in found):
            break
    return [each for each in found if each is not None]


def _check_text_only(row: Mapping[str, Any], pictures: Sequence[Any]) -> None:
    """Refuses a row that lists pictures of which none is there; null and an empty list say that there are none.

    Raises:
      RowError: `no-image`.
    """
    for name in _picture_columns(list(row)):
        if not pictures and row[name] not in (None, []):
            raise RowError("no-image", f"column {name!r} lists {len(row[name])} pictures, and all of them are null")


def _value(value: Any) -> Any:
    """Returns a cell's picture as `picture_values` takes it: bytes of a cell are the picture's own."""
    return {"bytes": value} if isinstance(value, bytes) else value


def _answered(row: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the texts of a row with an answer as fields of a draft, none if nothing is asked.

    Raises:
      RowError: `missing-field` or `wrong-type`.
    """
    instruction, inputs = m3it_rules.first(row, ("instruction",)), m3it_rules.first(row, m3it_rules.INPUT_KEYS)
    if not instruction and not inputs:
        return {}
    if references := _references(row):
        counted = collections.Counter(references)
        outputs = m3it_rules.first(row, ("multiple_choice_answer",)) or max(references, key=lambda each: counted[each])
    else:
        outputs = m3it_rules.first(row, (*m3it_rules.OUTPUT_KEYS, "multiple_choice_answer"))
    if not outputs:
        wanted = ", ".join((*m3it_rules.OUTPUT_KEYS, *_ANSWER_COLUMNS))
        raise RowError("missing-field", f"has no text under any of {wanted}; its fields: {_filled(row)}")
    if not instruction:
        instruction, inputs = inputs, ""
    return {"inputs": inputs, "outputs": outputs, "references": tuple(references), "instruction": instruction}


def _placed(texts: dict[str, Any], pictures: int) -> dict[str, Any]:
    """Returns the texts of a draft without marks of its pictures in the question.

    Raises:
      RowError: `placeholder-count`.
    """
    asked = (texts.get("instruction", ""), texts["inputs"])
    if not any(dialogues.PLACEHOLDER in each for each in asked):
        return texts
    changes: dict[str, None] = {}
    instruction, first = dialogues.named_places(asked[0], 0, changes)
    inputs, second = dialogues.named_places(asked[1], first, changes)
    if first + second != pictures:
        raise RowError("placeholder-count", f"{first + second} times {dialogues.PLACEHOLDER} for {pictures} pictures")
    if not instruction:
        instruction, inputs = inputs, ""
    extra = {"changes": list(changes)} if changes else {}
    return {**texts, "instruction": instruction, "inputs": inputs, "extra": extra}


def _captioned(row: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the texts of a row with a caption, or several of which the first is taken.

    Raises:
      RowError: `missing-field` or `wrong-type`; also in files with a column for questions, where captions are answers.
    """
    value = next((row[name] for name in _CAPTION_COLUMNS if row.get(name)), "")
    texts = tuple(value) if isinstance(value, list) else (value,)
    if not all(isinstance(each, str) for each in texts):
        raise RowError("wrong-type", f"a caption is {str(value)[:80]!r}, must be text or texts")
    if {"instruction", *m3it_rules.INPUT_KEYS} & set(row) or not texts[0].strip():
        raise RowError("missing-field", f"has neither a question nor a caption; its fields: {_filled(row)}")
    return {"inputs": "", "outputs": texts[0].strip(), "references": texts if len(texts) > 1 else ()}


def _references(row: Mapping[str, Any]) -> list[str]:
    """Returns every answer of a column `answers`: texts, or objects with an `answer` as VQA v2 has them."""
    value = row.get("answers")
    if value is None:
        return []
    listed = value if isinstance(value, list) else [value]
    found = [each.get("answer") if isinstance(each, Mapping) else each for each in listed]
    if not all(isinstance(each, str) for each in found):
        raise RowError("wrong-type", f"field 'answers' holds {str(value)[:80]!r}, must be texts")
    return [each.strip() for each in found if isinstance(each, str) and each.strip()]


def _filled(row: Mapping[str, Any]) -> str:
    return dialogues.fields_of({name: value for name, value in row.items() if value is not None})
