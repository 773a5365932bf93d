"""The released M3IT: JSONL with base64 pictures, a file, a task folder or the hub's whole `data/` folder.

Of a folder's files the edition of the paper is taken: `*_v2` (paraphrased again) before `para_*` before the rest, and
none of the rephrased ones of October 2023, which carry their date in the name, are later than the paper and are not
described by their authors. A file that is named itself is taken whatever it is.

A record's instruction is drawn from the `instructions.json` beside the file, else from our own bank. JSON lines that
`m3it export jsonl` wrote have the same keys and more: their records come back as they were.
"""

import dataclasses
import functools
import json
import pathlib
import re
from collections.abc import Iterator, Mapping
from typing import Any

from m3it_jax import errors, schema
from m3it_jax.dataset_building import sources
from m3it_jax.dataset_building.interchange import json_rows, m3it_rules, own, request
from m3it_jax.dataset_building.interchange.m3it_rules import RELEASED, About
from m3it_jax.dataset_building.specification import Assets, Draft, Rejected, RowError, SourceSpec
from m3it_jax.dataset_building.steps import instructions

# Source of the keys: the files of MMInstruction/M3IT. `original_image` is what a row holds beside a marked picture.
IMAGE_KEYS = ("image_base64_str", "image_str", "img_str", "image", "images", "original_image")

_POOL_FILES = ("instructions.json", "instruction.json")
_LABEL_FILES = ("mapping.txt", "labels.json")
_DATED = re.compile(r"20\d\d-\d\d-\d\d")
_LARGEST = "large"  # shapes ships its train split in several sizes, each inside the next

# Where the name of a file or folder is neither the config nor its folder.
_OTHER_NAMES = {"esnlive": "snli-ve", "snlive": "snli-ve", "vqav2": "vqa-v2", "scienceqa": "science-qa"}


@dataclasses.dataclass(frozen=True)
class Rows:
    """The files of one source and what their rows are read with; travels to the worker."""

    name: str
    files: tuple[request.File, ...]
    labels: Mapping[str, str]
    instructions: tuple[str, ...]


def specs(asked: request.Request) -> list[SourceSpec]:
    """Returns the sources that the paths hold.

    Raises:
      UserError: a path is missing or holds no rows, or its source or split is not known.
    """
    found: dict[str, list[request.File]] = {}
    left: dict[str, list[str]] = {}
    for path in asked.paths:
        files = request.files(dataclasses.replace(asked, paths=(path,)), suffixes=(".jsonl",), default_split="?")
        by_folder: dict[tuple[str, pathlib.Path], list[request.File]] = {}
        for file in files:
            name = asked.source or _first_own(file.path).get("source") or source_of(file.path)
            by_folder.setdefault((name, file.path.parent), []).append(file)
        for (name, _), inside in by_folder.items():
            kept = paper_edition(inside) if path.is_dir() else inside
            found.setdefault(name, []).extend(kept)
            left.setdefault(name, []).extend(file.path.name for file in inside if file not in kept)
    return [_spec(asked, name, list(dict.fromkeys(files)), left_out=left[name]) for name, files in found.items()]


def _spec(asked: request.Request, name: str, files: list[request.File], *, left_out: list[str]) -> SourceSpec:
    for file in files:
        if file.split == "?":
            raise errors.UserError(f"{file.path}: its name does not tell which split it is; give --split")
    if first := _first_own(files[0].path):
        return request.own_spec(
            asked, files, functools.partial(drafts, rows=Rows(name, tuple(files), {}, ())), row=first
        )
    released = RELEASED.get(name)
    ledger = sources.load(released.kin or name) if released else None
    pool = _pool(files[0].path.parent)
    texts = pool or (instructions.pool(ledger.pool) if ledger else ())
    if not texts:
        raise errors.UserError(
            f"{files[0].path.parent}: has no {_POOL_FILES[0]}, and none is known for {name!r}; put one there"
        )
    texts = tuple(each + (released.suffix if released else "") for each in texts)
    rows = Rows(name, tuple(files), _labels(files[0].path.parent), texts)
    return SourceSpec(
        name=name,
        task=asked.task or (ledger.task if ledger else "generation"),
        language=asked.language or (ledger.language if ledger else "en"),
        pool="",
        instructions=texts,
        drafts=functools.partial(drafts, rows=rows),
        rows={},
        licence=asked.licence or (ledger.licence if ledger else "") or "unknown",
        citation="Li et al., M3IT, arXiv 2306.04387" + (f"; {ledger.citation}" if ledger and ledger.citation else ""),
        url="https://huggingface.co/datasets/MMInstruction/M3IT",
        known_problems=_left_out(left_out),
        settings=request.settings(asked, files),
        inputs=request.paths(files),
    )


def _first_own(path: pathlib.Path) -> Mapping[str, Any]:
    """Returns the first row of a file that this program exported, nothing for other files."""
    row = next(json_rows.rows(path, lifted=IMAGE_KEYS), None)
    return row[1] if isinstance(row, tuple) and own.is_own(row[1]) else {}


def _left_out(names: list[str]) -> str:
    return f"Not of the paper's edition and left out: {', '.join(sorted(names))}." if names else ""


def source_of(path: pathlib.Path) -> str:
    """Returns the config that a released file belongs to, by its folder or else by the begin of its name.

    Raises:
      UserError: neither is known.
    """
    known = {each.folder.rsplit("/", 1)[1]: name for name, each in reversed(RELEASED.items())}
    known |= {name: name for name in RELEASED} | _OTHER_NAMES
    folder = path.resolve().parent.name
    begin = re.split(r"[_.](?:para|train|val|validation|test)(?:[_.]|$)", path.name)[0]
    for word in (folder, begin):
        for spelling in (word, word.replace("_", "-"), word.replace("-", "_")):
            if spelling in known:
                return known[spelling]
    raise errors.UserError(f"{path}: neither its folder nor its name is one of M3IT's sources; give --source NAME")


def paper_edition(files: list[request.File]) -> list[request.File]:
    """Returns the files of one source's folder that the paper's edition is made of."""
    kept = []
    for split in dict.fromkeys(file.split for file in files):
        ranked: dict[int, list[request.File]] = {}
        for file in files:
            if file.split == split and not _DATED.search(file.path.name):
                ranked.setdefault(_rank(file.path.stem), []).append(file)
        kept += ranked[max(ranked)] if ranked else []
    return [file for file in files if file in kept]


def _rank(stem: str) -> int:
    words = re.split(r"[_.]", stem)
    return 3 if words[-1] == "v2" else 2 if "para" in words else 1 if _LARGEST in words else 0


def _pool(folder: pathlib.Path) -> tuple[str, ...]:
    """Returns the instructions that lie beside the rows, nothing if none do.

    Raises:
      UserError: the file is no list of texts.
    """
    for name in _POOL_FILES:
        path = folder / name
        if path.is_file():
            value = _json(path)
            if not isinstance(value, list) or not value or not all(isinstance(x, str) and x.strip() for x in value):
                raise errors.UserError(f"{path}: must be a JSON list of instructions, none empty")
            return tuple(dict.fromkeys(each.strip() for each in value))
    return ()


def _labels(folder: pathlib.Path) -> dict[str, str]:
    """Returns the class names by their id: of `mapping.txt` (synset, then name) or `labels.json` (name to number)."""
    mapping, labels = (folder / name for name in _LABEL_FILES)
    if mapping.is_file():
        lines = mapping.read_text("utf-8", errors="replace").splitlines()
        pairs = (line.replace("\t", " ").partition(" ") for line in lines if line.strip())
        return {synset: name.strip(" ,:") for synset, _, name in pairs if name.strip()}
    if labels.is_file():
        value = _json(labels)
        if isinstance(value, dict):
            return {str(number): str(name) for name, number in value.items()}
        if isinstance(value, list):
            return {str(number): str(name) for number, name in enumerate(value)}
        raise errors.UserError(f"{labels}: must be a JSON list or object of class names")
    return {}


def _json(path: pathlib.Path) -> Any:
    try:
        return json.loads(path.read_text("utf-8-sig"))
    except (OSError, ValueError, RecursionError) as error:
        raise errors.UserError(f"{path}: cannot be read ({error}); get the file again") from error


def drafts(assets: Assets, split: str, seed: int, *, rows: Rows) -> Iterator[Draft | schema.Instance | Rejected]:
    """Yields the drafts of a split, in the files' order."""
    del assets
    convert = functools.partial(_drafts, rows=rows, split=split, seed=seed)
    return request.converted(rows.files, split, convert, lifted=IMAGE_KEYS)


def _drafts(place: str, row: Any, *, rows: Rows, split: str, seed: int) -> Iterator[Draft | schema.Instance]:
    is_text = own.is_own(row) and not any(row.get(key) for key in IMAGE_KEYS)  # `meta` has to say so, too
    images = tuple(request.picture(value) for value in ([] if is_text else m3it_rules.picture_field(row, IMAGE_KEYS)))
    if own.is_own(row):
        yield own.instance(row, images, source=rows.name)
        return
    group = m3it_rules.picture_name(row) or request.group_of(images)
    about = About(group, seed, rows.labels, rows.instructions)
    rule = RELEASED[rows.name].rule if rows.name in RELEASED else m3it_rules.plain
    brought = row.get("instruction", "")
    if not isinstance(brought, str):
        raise RowError("wrong-type", f"field 'instruction' is {type(brought).__name__}, must be text")
    for texts in rule(row, about):
        extra = {"original_answer": texts.original, "released_meta": dict(m3it_rules.meta_of(row))}
        changes = {"changes": [texts.change]} if texts.change else {}
        yield Draft(
            skill=rows.name,
            inputs=texts.inputs,
            outputs=texts.outputs,
            images=images,
            group=group,
            options=texts.options,
            references=texts.references,
            instruction=brought,
            slots=texts.slots,
            origin=place,
            origin_split=split,
            extra={**{name: value for name, value in extra.items() if value}, **changes},
        )
