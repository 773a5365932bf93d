"""What the user asks of an import, and what every format does alike: file names, picture texts, specifications."""

import binascii
import dataclasses
import hashlib
import pathlib
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import Any

import pybase64

from m3it_jax import errors, schema
from m3it_jax.dataset_building.interchange import json_rows, splits
from m3it_jax.dataset_building.publishers import raw
from m3it_jax.dataset_building.specification import Draft, Drafts, Rejected, RowError, SourceSpec

_NAME = r"[a-z0-9]+(-[a-z0-9]+)*"  # of a source


@dataclasses.dataclass(frozen=True)
class Request:
    """What is to be imported.

    Attributes:
      paths: Files and folders.
      source: Name of the source, where the files do not tell it.
      split: Split of all files, where their names do not tell it.
      task: One of `schema.TASKS`, where the format does not tell it.
      language: BCP-47 tag of the texts, where the rows do not tell it.
      images: The folder that picture names are looked up in; nothing outside of it is read.
      licence: Terms of the rows, where nothing else tells them.
    """

    paths: tuple[pathlib.Path, ...]
    source: str = ""
    split: str = ""
    task: str = ""
    language: str = ""
    images: pathlib.Path | None = None
    licence: str = ""

    def name(self) -> str:
        """Returns the name of the source: the given one, or what the first path is called.

        Raises:
          UserError: neither makes a name.
        """
        stem = self.paths[0].resolve().name.split(".")[0]
        found = self.source or re.sub(r"[^a-z0-9]+", "-", stem.lower()).strip("-")
        check_name(found or "?")
        return found

    def picture_folder(self, default: pathlib.Path) -> tuple[pathlib.Path, ...]:
        """Returns where picture names are looked up: the given folder, or `default`."""
        return (self.images if self.images is not None else default,)


@dataclasses.dataclass(frozen=True)
class File:
    """One file of a source, and the split that all of its rows belong to.

    Attributes:
      path: Where it lies.
      split: The split.
      name: What it is called in messages and in `meta.origin`: its path inside of the folder that was given.
    """

    path: pathlib.Path
    split: str
    name: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "name", self.name or json_rows.spelled(self.path.name))


def files(request: Request, *, suffixes: Sequence[str], default_split: str = "") -> list[File]:
    """Returns the files under the paths, in order of their names, each with its split.

    Raises:
      UserError: a path is missing, nothing with one of the suffixes is there, or a file's split is not known.
    """
    found: dict[pathlib.Path, File] = {}
    for path in request.paths:
        if not path.exists():
            raise errors.UserError(f"{path}: there is no such file or folder")
        if not path.is_dir():
            told = splits.of([path.name], above=splits.above(path))
            found.setdefault(path, File(path, splits.chosen(told, path, given=request.split, default=default_split)))
            continue
        inside = sorted(each for each in path.rglob("*") if each.name.endswith(tuple(suffixes)) and each.is_file())
        inside = [each for each in inside if not is_of_macos(each.name)]
        if not inside:
            raise errors.UserError(f"{path}: holds no file that ends with {' or '.join(suffixes)}")
        for each in inside:
            relative = each.relative_to(path)
            told = splits.of(relative.parts, above=splits.above(path))
            split = splits.chosen(told, each, given=request.split, default=default_split)
            found.setdefault(each, File(each, split, json_rows.spelled(relative.as_posix())))
    return list(found.values())


def is_of_macos(name: str) -> bool:
    """Returns whether a file holds what macOS notes beside another: `._a.jpg` is no picture."""
    return name.startswith("._")


def spec(
    request: Request,
    inputs: Iterable[File],
    drafts: Drafts,
    *,
    task: str,
    pool: str = "",
    citation: str = "",
    url: str = "",
) -> SourceSpec:
    """Returns the source of a format that knows nothing of it but its files. `task` and `en` yield to the request."""
    inputs = tuple(inputs)
    return SourceSpec(
        name=request.name(),
        inputs=paths(inputs),
        task=request.task or task,
        language=request.language or "en",
        pool=pool,
        drafts=drafts,
        rows={},
        licence=request.licence or "unknown",
        citation=citation,
        url=url,
        settings=settings(request, inputs),
    )


def own_spec(request: Request, inputs: Iterable[File], drafts: Drafts, *, row: Mapping[str, Any]) -> SourceSpec:
    """Returns the source of rows that this program exported, of which `row` is the first.

    Raises:
      UserError: the row names no source, task or language.
    """
    told = {name: str(row[name]) for name in ("source", "task", "language")}
    check_task(told["task"])
    if not re.fullmatch(_NAME, told["source"]):
        raise errors.UserError(f"{request.paths[0]}: source {told['source'][:80]!r} is no name; export the data again")
    inputs = tuple(inputs)
    return SourceSpec(
        name=told["source"],
        inputs=paths(inputs),
        task=told["task"],
        language=told["language"],
        pool="",
        drafts=drafts,
        rows={},
        licence=request.licence or "unknown",
        settings=settings(request, inputs),
    )


def paths(inputs: Iterable[File]) -> tuple[pathlib.Path, ...]:
    """Returns the files and folders that a source is made from, each once."""
    return tuple(dict.fromkeys(file.path for file in inputs))


def settings(request: Request, inputs: Iterable[File]) -> dict[str, object]:
    """Returns what decides an imported source's records: the files by name, size and split, and the options."""
    listed = [[file.name, file.path.stat().st_size, file.split] for file in inputs]
    given = {"task": request.task, "language": request.language, "licence": request.licence}
    return {"imported": {"files": listed} | {name: value for name, value in given.items() if value}}


def picture(value: object) -> bytes:
    """Returns the encoded picture of a base64 text or of a `data:` URL.

    Raises:
      RowError: `wrong-type`, `bad-base64`, `picture-remote` (nothing is fetched) or `picture-too-large`.
    """
    if not isinstance(value, str | bytes):
        raise RowError("wrong-type", f"a picture is {type(value).__name__}, must be base64 text")
    begin = value[:200] if isinstance(value, str) else value[:200].decode("latin-1")
    if begin.startswith(("http:", "https:", "file:")) or re.match(r"[A-Za-z][A-Za-z0-9+.-]*://", begin):
        raise RowError("picture-remote", f"{begin[:80]!r} is elsewhere; nothing is fetched, so get the picture first")
    if begin.startswith("data:"):
        head, comma, _ = begin.partition(",")
        if not comma or not head.lower().endswith(";base64"):
            raise RowError("bad-base64", f"{begin[:80]!r} is no data: URL with base64")
        value = value[len(head) + 1 :]
    if len(value) > raw.MAX_PICTURE_BYTES * 4 // 3 + 4:
        raise RowError("picture-too-large", f"has {len(value)} characters of base64")
    try:
        data = pybase64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        data = _wrapped_base64(value)
    if not data:
        raise RowError("bad-base64", "a picture's text is empty")
    return data


def _wrapped_base64(value: str | bytes) -> bytes:
    """Returns the bytes of base64 that is broken into lines, as mail programs do."""
    text = value.encode("utf-8", "replace") if isinstance(value, str) else value
    try:
        return pybase64.b64decode(b"".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise RowError(
            "bad-base64", f"a picture's text is no base64 ({error}); it begins with {text[:20]!r}"
        ) from error


def group_of(images: Iterable[bytes]) -> str:
    """Returns the identity of pictures that have no name: a hash of each one's content, joined by `+`."""
    return "+".join(dict.fromkeys(hashlib.sha256(image).hexdigest()[:32] for image in images))


def converted(
    inputs: Iterable[File],
    split: str,
    convert: Callable[[str, Any], Iterable[Draft | schema.Instance]],
    *,
    lifted: Collection[str] = (),
) -> Iterator[Draft | schema.Instance | Rejected]:
    """Yields what `convert(place, row)` makes of each row of a split's files, and what is wrong with the others.

    A row that fails gives nothing, even if it had begun to give drafts.
    """
    for file in inputs:
        if file.split == split:
            for row in json_rows.rows(file.path, lifted=lifted, name=file.name):
                if isinstance(row, Rejected):
                    yield row
                    continue
                place, value = row
                try:
                    found = list(convert(place, value))
                except RowError as error:
                    yield Rejected(place, error.reason, str(error))
                else:
                    yield from found


def check_name(source: str) -> None:
    """Refuses what cannot be the name of a source.

    Raises:
      UserError: `source` is neither empty nor a name.
    """
    if source and not re.fullmatch(_NAME, source):
        raise errors.UserError(
            f"--source {source!r}: must be lower case letters, digits and single dashes; name the source"
        )


def check_task(task: str) -> None:
    """Refuses a task that there is not.

    Raises:
      UserError: `task` is neither empty nor one of `schema.TASKS`.
    """
    if task and task not in schema.TASKS:
        raise errors.UserError(f"--task {task!r}: must be one of {', '.join(schema.TASKS)}")
