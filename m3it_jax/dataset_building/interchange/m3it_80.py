"""The released M3IT-80: translated texts, joined by row number with the pictures of the file that they were made from.

    data/<task>/<task>_<split>_<lang>.jsonl     instruction, input and output in one of 80 languages
    data/<task>/{train,val,test}_500.jsonl      the rows in English, with their pictures

One source for each task, `m3it-80-<task>`; the language of a record is its file's. Known from the loading script
M3IT-80.py of MMInstruction/M3IT-80; the key of the answers could not be checked, any that M3IT uses is taken.
"""

import dataclasses
import functools
import json
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from m3it_jax import errors, languages
from m3it_jax.dataset_building.interchange import json_rows, m3it_rules, request, splits
from m3it_jax.dataset_building.interchange.m3it import IMAGE_KEYS
from m3it_jax.dataset_building.specification import Assets, Draft, Rejected, RowError, SourceSpec

LANGUAGES = tuple(language.code for language in languages.M3IT_80)

# Folder -> task of the source; the names are those of the loading script and of the M3IT configs.
TASKS = {
    "okvqa": "knowledge_vqa",
    "imagenet": "classification",
    "winoground": "reasoning",
    "vqa-v2": "vqa",
    "vqav2": "vqa",
    "vist": "generation",
    "msrvtt": "video",
    "msrvtt-qa": "video",
}

_TRANSLATED = re.compile(r"(?P<task>.+)_(?P<split>train|val|validation|test)_(?P<language>[a-z]{2,3})\.jsonl")
_PICTURES = re.compile(r"(train|val|validation|test)_\d+\.jsonl")


@dataclasses.dataclass(frozen=True)
class Translation:
    """A file with the texts of one language, and the file whose pictures belong to them."""

    texts: request.File
    pictures: pathlib.Path
    language: str


def specs(asked: request.Request) -> list[SourceSpec]:
    """Returns one source for each task that the paths hold.

    Raises:
      UserError: a path is missing, a file's language is none of the 80, or the pictures' file is not beside it.
    """
    found: dict[str, list[Translation]] = {}
    for file in request.files(asked, suffixes=(".jsonl",), default_split="?"):
        match = _TRANSLATED.fullmatch(file.path.name)
        if match is None:
            if file.path in asked.paths:
                raise errors.UserError(f"{file.path}: its name is not <task>_<split>_<language>.jsonl")
            continue  # the pictures' files, and data/instructions/
        if match["language"] not in LANGUAGES:
            raise errors.UserError(f"{file.path}: {match['language']!r} is none of the 80 languages of M3IT-80")
        task = match["task"].replace("_", "-")
        found.setdefault(task, []).append(Translation(file, _pictures_of(file), match["language"]))
    if not found:
        raise errors.UserError(f"{asked.paths[0]}: holds no file <task>_<split>_<language>.jsonl of M3IT-80")
    return [_spec(asked, task, tuple(parts)) for task, parts in sorted(found.items())]


def _pictures_of(file: request.File) -> pathlib.Path:
    for path in sorted(file.path.parent.iterdir()):
        match = _PICTURES.fullmatch(path.name)
        if match and splits.WORDS[match[1]] == file.split:
            return path
    raise errors.UserError(
        f"{file.path}: the pictures' file {file.split}_500.jsonl is not beside it; get it from data/ of M3IT-80"
    )


def _spec(asked: request.Request, task: str, parts: tuple[Translation, ...]) -> SourceSpec:
    files = [part.texts for part in parts]
    files += dict.fromkeys(request.File(part.pictures, part.texts.split) for part in parts)
    return SourceSpec(
        name=asked.source or f"m3it-80-{re.sub(r'[^a-z0-9]+', '-', task.lower()).strip('-')}",
        task=asked.task or TASKS.get(task, "generation"),
        language="mul",
        pool="",
        drafts=functools.partial(drafts, parts=parts),
        rows={},
        licence=asked.licence or "unknown",
        citation="Li et al., M3IT, arXiv 2306.04387",
        url="https://huggingface.co/datasets/MMInstruction/M3IT-80",
        known_problems="Translated by machine (NLLB-1.3B) from the English rows.",
        settings=request.settings(asked, files),
        inputs=request.paths(files),
    )


def drafts(assets: Assets, split: str, seed: int, *, parts: tuple[Translation, ...]) -> Iterator[Draft | Rejected]:
    """Yields the drafts of a split, one language after another, each in the order of its file."""
    del assets, seed
    starts: dict[pathlib.Path, list[int]] = {}
    for part in parts:
        if part.texts.split == split:
            if part.pictures not in starts:
                starts[part.pictures] = _line_starts(part.pictures)
            yield from _joined(part, starts[part.pictures])


def _joined(part: Translation, starts: list[int]) -> Iterator[Draft | Rejected]:
    """Yields the rows of one language; a picture's row is read by its place, so that no two are held at once."""
    with open(part.pictures, "rb") as file:
        for row in json_rows.rows(part.texts.path, name=part.texts.name):
            if isinstance(row, Rejected):
                yield row
                continue
            place, texts = row
            told = place.rpartition(":")[2]
            number = int(told) if told.isdigit() else 0
            try:
                if not number:
                    raise RowError("wrong-type", "stands in a JSON array; M3IT-80 has one row a line")
                if number > len(starts):
                    raise RowError("picture-missing", f"{part.pictures.name} has {len(starts)} rows")
                file.seek(starts[number - 1])
                line = file.readline(json_rows.MAX_LINE_BYTES + 1)
                if len(line) > json_rows.MAX_LINE_BYTES:
                    raise RowError("line-too-long", f"{part.pictures.name}:{number} is too long")
                yield _draft(place, texts, json_rows.parse(line, lifted=IMAGE_KEYS), part=part)
            except RowError as error:
                yield Rejected(place, error.reason, str(error))


def _line_starts(path: pathlib.Path) -> list[int]:
    """Returns where each line of a file begins, in bytes."""
    starts = [0]
    with open(path, "rb") as file:
        while line := file.readline(1 << 20):
            if line.endswith(b"\n"):
                starts.append(file.tell())
    return starts if starts[-1] < path.stat().st_size else starts[:-1]


def _draft(place: str, row: Any, pictures: Any, *, part: Translation) -> Draft:
    try:
        values = m3it_rules.picture_field(pictures, IMAGE_KEYS)
    except RowError as error:  # that file is there for its pictures alone
        raise RowError("no-image", f"{part.pictures.name} {error}") from error
    images = tuple(request.picture(value) for value in values)
    if not isinstance(row, Mapping):
        raise RowError("wrong-type", f"the row is {type(row).__name__}, must be an object")
    instruction = m3it_rules.first(row, ("instruction",))
    if not instruction:
        raise RowError("missing-field", "has no field 'instruction'")
    outputs = m3it_rules.first(row, m3it_rules.OUTPUT_KEYS)
    if not outputs:
        raise RowError("missing-field", f"has no text under any of {', '.join(m3it_rules.OUTPUT_KEYS)}")
    return Draft(
        skill=part.texts.path.parent.name,
        inputs=m3it_rules.first(row, m3it_rules.INPUT_KEYS),
        outputs=outputs,
        images=images,
        group=m3it_rules.picture_name(pictures) or request.group_of(images),
        language=part.language,
        instruction=instruction,
        origin=place,
        origin_split=part.texts.split,
        extra={"released_meta": json.loads(json.dumps(dict(m3it_rules.meta_of(pictures))))},
    )
