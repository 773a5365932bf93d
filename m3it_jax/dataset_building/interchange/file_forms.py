"""What a file is that is no JSON of one row a line, named for what it is; and where in a file something stands."""

import codecs
import json
import pathlib
import re
from typing import Any

from m3it_jax import errors
from m3it_jax.dataset_building.specification import Rejected

_HEAD = 1 << 16
_CHUNK = 1 << 20

# How files begin that are often taken for others, and what to do with them.
_BEGINS = {
    b"\xff\xfe": ("UTF-16 text", "save it as UTF-8: iconv -f UTF-16 -t UTF-8"),
    b"\xfe\xff": ("UTF-16 text", "save it as UTF-8: iconv -f UTF-16 -t UTF-8"),
    b"\x1f\x8b": ("packed with gzip", "unpack it: gunzip"),
    b"BZh": ("packed with bzip2", "unpack it: bunzip2"),
    b"\xfd7zXZ": ("packed with xz", "unpack it: unxz"),
    b"\x28\xb5\x2f\xfd": ("packed with Zstandard", "unpack it: unzstd"),
    b"PK\x03\x04": ("a zip archive", "unpack it: unzip"),
    b"PAR1": ("a Parquet file", "use format parquet"),
    b"ARROW1": ("an Arrow file", "save it as Parquet or as JSON lines"),
    b"version https://git-lfs": ("a pointer of Git LFS and not the file itself", "fetch it: git lfs pull"),
    b"<!DOCTYPE html": ("a web page", "get the file itself"),
    b"<html": ("a web page", "get the file itself"),
}

# Fields of a row that are lists of objects, so that a row with one is no wrapping of rows.
_LISTS = frozenset(
    "conversations messages texts content images image prompt completion chosen rejected history answers tools objects"
    " options annotations".split()
)
_LIST_OF_OBJECTS = re.compile(rb'"([^"\\]{1,80})"\s*:\s*\[\s*\{')
_OBJECT_OF_OBJECTS = re.compile(rb'\s*\{\s*"[^"\\]{1,200}"\s*:\s*\{')


def check(path: pathlib.Path) -> bytes:
    """Returns the begin of a file, at most 64 KiB.

    Raises:
      UserError: it is of a form that is named there, or an OSError for what cannot be read.
    """
    with open(path, "rb") as file:
        head = file.read(_HEAD)
    for begin, (what, mend) in _BEGINS.items():
        if head.lower().startswith(begin.lower()):
            raise errors.UserError(f"{path}: is {what}; {mend}")
    return head


def check_text(path: pathlib.Path) -> bytes:
    """Returns the begin of a text file, as `check`.

    Raises:
      UserError: it is of another form, UTF-16 without a mark included.
    """
    head = check(path)
    # Every second byte of western text in UTF-16 is zero; a zero byte is no character of JSON.
    if len(head) > 3 and (not any(head[1:40:2]) or not any(head[:40:2])):
        raise errors.UserError(f"{path}: is UTF-16 text; save it as UTF-8: iconv -f UTF-16 -t UTF-8")
    return head


def _wraps(value: Any) -> str:
    """Returns the name under which a single object holds a list of rows, empty if it is a row itself."""
    if not isinstance(value, dict):
        return ""
    for name, each in value.items():
        if name not in _LISTS and isinstance(each, list) and each and all(isinstance(row, dict) for row in each):
            return str(name)
    return ""


def check_one_object(path: pathlib.Path, row: tuple[str, Any] | Rejected) -> None:
    """Refuses a file of which `row` is the only line, if that is one object around all rows.

    Raises:
      UserError: it is.
    """
    if isinstance(row, Rejected):
        if row.reason == "line-too-long" and _LIST_OF_OBJECTS.search(check(path)):
            raise one_object(path)
    elif name := _wraps(row[1]):
        raise _wrapped(path, name)
    elif isinstance(row[1], dict) and row[1] and all(isinstance(each, dict) for each in row[1].values()):
        raise _by_name(path)


def one_object(path: pathlib.Path) -> errors.UserError:
    """Returns the refusal of a file that is one JSON object, perhaps over many lines."""
    for found in _LIST_OF_OBJECTS.finditer(check(path)):
        if found[1].decode("utf-8", "replace") not in _LISTS:
            return _wrapped(path, found[1].decode("utf-8", "replace"))
    if _OBJECT_OF_OBJECTS.match(check(path)):
        return _by_name(path)
    return errors.UserError(f"{path}: is one JSON object over many lines; give one object a line: jq -c . {path.name}")


def _by_name(path: pathlib.Path) -> errors.UserError:
    mend = f"jq -c '.[]' {path.name} > rows.jsonl"
    return errors.UserError(f"{path}: is one JSON object with a row under each name; give the rows alone: {mend}")


def _wrapped(path: pathlib.Path, name: str) -> errors.UserError:
    mend = f"jq -c '.[{json.dumps(name)}][]' {path.name} > rows.jsonl"
    return errors.UserError(
        f"{path}: is one JSON object, with its rows in a list under {name!r}; give that list alone: {mend}"
    )


def place_of(path: pathlib.Path, characters: int) -> str:
    """Returns the line, column and byte of the place behind so many characters of a UTF-8 file."""
    line, column, size = 1, 1, 0
    with open(path, encoding="utf-8-sig", newline="") as file:
        while characters > 0 and (text := file.read(min(_CHUNK, characters))):
            characters -= len(text)
            size += len(text.encode("utf-8"))
            line += text.count("\n")
            column = len(text) - text.rfind("\n") if "\n" in text else column + len(text)
    with open(path, "rb") as raw:
        size += len(codecs.BOM_UTF8) if raw.read(3) == codecs.BOM_UTF8 else 0
    return f"line {line}, column {column} (byte {size})"


def first_bad_byte(path: pathlib.Path) -> int:
    """Returns how many bytes of a file are UTF-8 before the first that is not; all of them if none is."""
    decoder = codecs.getincrementaldecoder("utf-8")()
    passed = 0
    with open(path, "rb") as file:
        while chunk := file.read(_CHUNK):
            passed += len(chunk)
            try:
                decoder.decode(chunk)
            except UnicodeDecodeError as error:
                return passed - len(error.object) + error.start
    return passed
