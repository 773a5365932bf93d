"""The folder with a publisher's own files: names are checked, damaged rows are told, pictures are read when needed."""

import contextlib
import csv
import dataclasses
import hashlib
import json
import os
import pathlib
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any, TextIO

from m3it_jax import errors, file_safety, schema
from m3it_jax.dataset_building.specification import Assets, FramePick, RawFile, Rejected, RowError, SourceSpec

# CHOICE: no single picture of the 40 sources comes near; a file that says it is one and is larger is not read.
MAX_PICTURE_BYTES = 64 * 1024 * 1024
MAX_LINE_BYTES = 32 * 1024 * 1024  # CHOICE: one row of text; rows that hold pictures are read by `interchange`

_ENCODING = "utf-8-sig"  # some publishers' files begin with a byte order mark

# Why not ijson: it keeps a path for each level, so a damaged file of 100,000 brackets takes all memory there is.
# What stands before an element of a JSON list and before a member of an object, where either ends, and what stands
# behind a whole value.
_BEFORE = {
    "[": re.compile(r"\s*[\[,](?=\s*[^\s\]])\s*"),
    "{": re.compile(r'\s*[{,]\s*("(?:[^"\\]|\\.)*")\s*:\s*'),
}
_END = re.compile(r"\s*[\[{]?\s*[\]}]")
_AFTER = re.compile(r"\s*[,\]}]")
_MAX_HEAD = 1000  # characters of a list's name, colon and blanks
_CHUNK = 1 << 20  # characters read at a time; larger gains nothing


@dataclasses.dataclass(frozen=True)
class PictureFile:
    """One picture of a raw folder, looked for in each of the roots in turn; then under each other name it may have."""

    roots: tuple[pathlib.Path, ...]
    name: str
    others: tuple[str, ...] = ()

    def read(self, pick: FramePick) -> tuple[bytes, ...]:
        """Returns the file's bytes as the only picture.

        Raises:
          RowError: `picture-missing`, `path-outside`, `picture-too-large` or `picture-unreadable`.
        """
        path = next((path for name in (self.name, *self.others) if (path := find(self.roots, name)) is not None), None)
        if path is None:
            raise RowError("picture-missing", f"there is no {' and no '.join((self.name, *self.others))}")
        try:
            if path.stat().st_size > MAX_PICTURE_BYTES:
                raise RowError("picture-too-large", f"{self.name} has {path.stat().st_size} bytes")
            return (path.read_bytes(),)
        except OSError as error:
            raise RowError("picture-unreadable", f"{self.name}: {error.strerror}") from error


def find(roots: tuple[pathlib.Path, ...], name: str) -> pathlib.Path | None:
    """Returns where a name from a publisher's file lies, or None if it lies in no root.

    Raises:
      RowError: `path-outside`: the name, or a link on the way, leads out of the raw folder.
    """
    if not name or "\0" in name or not schema.encodable(name):
        raise RowError("path-outside", f"{name!r} is no file name")
    for root in roots:
        path = root / name
        inside = root.resolve()
        with contextlib.suppress(OSError):  # a name too long, a loop of links
            if not path.resolve().is_relative_to(inside) or os.path.isabs(name):
                raise RowError("path-outside", f"{name!r} leads out of {root.name}/")
            if path.exists():
                return path
    return None


class RawFolder:
    """The raw folder of a source, and those of the sources that it borrows pictures from.

    Attributes:
      roots: Where a file is looked for, in order.
    """

    def __init__(self, spec: SourceSpec, assets: Assets):
        """Takes the source and the folders by name, as `drafts` is given them."""
        borrowed = spec.published.borrows if spec.published else ()
        self.roots = tuple(assets[name] for name in (spec.name, *borrowed) if name in assets)
        self._name = spec.name

    def path(self, name: str) -> pathlib.Path:
        """Returns where a file or folder lies that the source cannot do without.

        Raises:
          UserError: it is missing.
        """
        found = find(self.roots, name)
        if found is None:
            raise errors.UserError(f"{self._name}/{name}: is missing; `m3it sources {self._name}` says where to get it")
        return found

    def exists(self, name: str) -> bool:
        """Returns whether there is such a file."""
        return find(self.roots, name) is not None

    def picture(self, name: str, *others: str) -> PictureFile:
        """Returns a picture by its name, or another that it may have; it is looked for when its record is made."""
        return PictureFile(self.roots, name, others)

    def first(self, *names: str) -> str:
        """Returns the first of these names that is there, the first of all if none is."""
        return next((name for name in names if self.exists(name)), names[0])

    def json(self, name: str) -> Any:
        """Returns the content of a JSON file.

        Raises:
          UserError: it is missing or no JSON.
        """
        path = self.path(name)
        try:
            return json.loads(path.read_text(_ENCODING))
        except (OSError, ValueError, RecursionError) as error:
            raise errors.UserError(f"{path}: cannot be read ({error}); get the file again") from error

    def json_elements(self, name: str, key: str = "") -> Iterator[tuple[str, Any]]:
        """Yields (place, element) for the list under `key` of a JSON file, or for a file that is a list.

        Only one element at a time is in memory: some publishers ship gigabytes as one object.

        Raises:
          UserError: the file is missing, no JSON, or has no such list.
        """
        for number, (_, value) in enumerate(self._streamed(name, key, "[")):
            yield f"{name}: {key}[{number}]", value

    def json_members(self, name: str) -> Iterator[tuple[str, Any]]:
        """Yields (key, value) for each member of a JSON file that is an object; one at a time is in memory.

        Raises:
          UserError: the file is missing, or no JSON object.
        """
        for before, value in self._streamed(name, "", "{"):
            yield json.loads(before[1]), value

    def _streamed(self, name: str, key: str, opening: str) -> Iterator[tuple[re.Match[str], Any]]:
        path = self.path(name)
        try:
            with open(path, encoding=_ENCODING) as file:
                yield from _json_values(file, key, opening)
        except (OSError, ValueError, RecursionError) as error:
            raise errors.UserError(f"{path}: cannot be read ({error}); get the file again") from error

    def lines(self, name: str) -> Iterator[tuple[str, str]]:
        """Yields (place, line without its end) for each line of a text file that is not blank.

        Raises:
          UserError: it is missing, or no UTF-8.
        """
        path = self.path(name)
        with open(path, "rb") as file:
            for number, raw in enumerate(_bounded(file), start=1):
                try:
                    line = raw.decode(_ENCODING if number == 1 else "utf-8").rstrip("\r\n")
                except UnicodeDecodeError as error:
                    raise errors.UserError(f"{path}:{number}: is no UTF-8 ({error}); get the file again") from error
                if line.strip():
                    yield f"{name}:{number}", line

    def json_lines(self, name: str) -> Iterator[tuple[str, Any] | Rejected]:
        """Yields (place, value) for each line of a JSONL file, and what is wrong with a line that is no JSON."""
        for place, line in self.lines(name):
            try:
                yield place, json.loads(line)
            except (ValueError, RecursionError) as error:
                yield Rejected(place, "not-json", str(error))

    def table(self, name: str, *, delimiter: str = ",", fields: tuple[str, ...] = ()) -> Iterator[tuple[str, dict]]:
        """Yields (place, row by field) of a CSV or TSV file; `fields` names the columns where the file does not.

        Raises:
          UserError: it is missing or no table.
        """
        path = self.path(name)
        csv.field_size_limit(min(sys.maxsize, MAX_LINE_BYTES))
        try:
            with open(path, encoding=_ENCODING, newline="") as file:
                # A quote inside a tab-separated text is a quote.
                quoting: Any = csv.QUOTE_MINIMAL if delimiter == "," else csv.QUOTE_NONE
                reader = csv.DictReader(file, fieldnames=list(fields) or None, delimiter=delimiter, quoting=quoting)
                for row in reader:
                    yield f"{name}:{reader.line_num}", row
        except (OSError, UnicodeDecodeError, csv.Error) as error:
            raise errors.UserError(f"{path}: cannot be read ({error}); get the file again") from error


def _json_values(file: TextIO, key: str, opening: str) -> Iterator[tuple[re.Match[str], Any]]:
    """Yields (what stands before it, value) for each value of a list (`opening` is `[`) or object (`{`).

    It is the one under `key`, wherever that stands, or the whole file if `key` is empty.

    Raises:
      ValueError: there is no such list or object, or it is damaged.
    """
    decoder = json.JSONDecoder()
    text, place = _begin(file, key, opening)
    while not _END.match(text, place):
        if found := _BEFORE[opening].match(text, place):
            with contextlib.suppress(ValueError):  # cut off, or damaged: more text will tell
                value, stop = decoder.raw_decode(text, found.end())
                if _AFTER.match(text, stop):  # a number might go on
                    yield found, value
                    place = stop
                    continue
        more = file.read(_CHUNK)
        if not more or len(text) - place > MAX_LINE_BYTES:
            raise ValueError(f"is damaged at {text[place : place + 40]!r}")
        text, place = text[place:] + more, 0


def _begin(file: TextIO, key: str, opening: str) -> tuple[str, int]:
    """Returns text of a file and the place in it where the list or object begins."""
    text = file.read(_CHUNK)
    if not key:
        if not text.lstrip().startswith(opening):
            raise ValueError(f"does not begin with {opening}")
        return text, 0
    # A quotation mark inside a text has a backslash before it.
    wanted = re.compile(rf"(?<!\\){re.escape(json.dumps(key))}\s*:\s*(?={re.escape(opening)})")
    while not (found := wanted.search(text)):
        more = file.read(_CHUNK)
        if not more:
            raise ValueError(f"has no {key!r} that begins with {opening}")
        text = text[-_MAX_HEAD:] + more  # the name may lie across the border
    return text, found.end()


def _bounded(file: Any) -> Iterator[bytes]:
    """Yields the lines of a binary file; one that is too long is cut, and so is told as damaged by who reads it."""
    while line := file.readline(MAX_LINE_BYTES):
        yield line
        while not line.endswith(b"\n") and len(line) == MAX_LINE_BYTES:
            line = file.readline(MAX_LINE_BYTES)  # the rest of a line that is too long


def absent(spec: SourceSpec, assets: Assets) -> list[RawFile]:
    """Returns the raw files of a source that are not there.

    Raises:
      UserError: one is a link that leads out of the raw folder.
    """
    roots = RawFolder(spec, assets).roots
    try:
        return [file for file in _published(spec) if _place(roots, file) is None]
    except RowError as error:
        raise errors.UserError(f"{spec.name}: {error}; put the files themselves there, not a link") from error


def missing(spec: SourceSpec, assets: Assets) -> list[str]:
    """Returns the paths of the raw files that a source cannot do without and that are not there.

    Raises:
      UserError: one is a link that leads out of the raw folder.
    """
    return [
        f"{spec.name}/{file.path}"
        for file in absent(spec, assets)
        if not file.optional and (not file.split or spec.rows.get(file.split) != 0)
    ]


def _place(roots: tuple[pathlib.Path, ...], file: RawFile) -> pathlib.Path | None:
    """Returns where a raw file lies, or None if it lies in none of its places."""
    return next((path for name in file.places if (path := find(roots, name)) is not None), None)


def _published(spec: SourceSpec) -> tuple[RawFile, ...]:
    return spec.published.raw if spec.published else ()


def inventory(spec: SourceSpec, assets: Assets) -> list[dict[str, Any]]:
    """Returns what a source was made from: {"path", "files", "bytes", "sha256"} for each raw file that is there.

    A file's hash is of its content; a folder's is of the names and sizes in it, since pictures are many and large.
    """
    roots = RawFolder(spec, assets).roots
    found = []
    for file in _published(spec):
        path = _place(roots, file)
        if path is not None:
            found.append({"path": f"{spec.name}/{file.path}"} | (_folder(path) if path.is_dir() else _file(path)))
    return found


def _file(path: pathlib.Path) -> dict[str, Any]:
    return {"files": 1, "bytes": path.stat().st_size, "sha256": file_safety.sha256(path)}


def _folder(path: pathlib.Path) -> dict[str, Any]:
    sizes = sorted(
        (os.path.relpath(os.path.join(folder, name), path), os.path.getsize(os.path.join(folder, name)))
        for folder, _, names in os.walk(path)
        for name in names
    )
    digest = hashlib.sha256()
    for name, size in sizes:
        digest.update(os.fsencode(f"{name}\0{size}\n"))
    return {"files": len(sizes), "bytes": sum(size for _, size in sizes), "sha256": digest.hexdigest()}


_KINDS = {
    str: "text",
    list: "a list",
    dict: "an object",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
}


def field(row: Any, name: str, kind: type | tuple[type, ...] = str) -> Any:
    """Returns a field of a publisher's row.

    Raises:
      RowError: `wrong-type` or `missing-field`.
    """
    if not isinstance(row, Mapping):
        raise RowError("wrong-type", f"the row is {type(row).__name__}, must be an object")
    if name not in row or row[name] is None:
        names = ", ".join(str(each)[:40] for each in list(row)[:20]) or "none"
        raise RowError("missing-field", f"has no field {name!r}; its fields: {names}")
    value = row[name]
    if not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
        kinds = kind if isinstance(kind, tuple) else (kind,)
        wanted = " or ".join(_KINDS.get(each, each.__name__) for each in kinds)
        told = f"{type(value).__name__} {value!r:.80}"
        raise RowError("wrong-type", f"field {name!r} is {told}, must be {wanted}")
    return value


def part(content: Any, name: str, kind: type | tuple[type, ...], *, file: str) -> Any:
    """Returns what a whole file, already read, holds under a name that no row can do without.

    Raises:
      UserError: it holds no such thing.
    """
    try:
        return field(content, name, kind)
    except RowError as error:
        raise errors.UserError(f"{file}: {error}; get the file again") from error
