"""JSON of unknown origin -> its rows, one after another: bounded memory, and each fault named with its place.

A row with a picture is one long text between short ones. Such a text is lifted out before the rest is parsed, and stays
bytes: it is copied once instead of three times, and base64 is never decoded as UTF-8.
"""

import codecs
import json
import pathlib
from collections.abc import Collection, Iterable, Iterator
from typing import Any

from m3it_jax import errors
from m3it_jax.dataset_building.specification import Rejected, RowError

# CHOICE: eight frames of 5 MB each are 53 MB as base64; a worker that holds one such line and what is decoded from it
# stays well under a gigabyte. A longer line is skipped piece by piece.
MAX_LINE_BYTES = 64 << 20

_CHUNK = 1 << 20  # bytes that are read at once
# CHOICE: of a file of long lines; a line that lies across two buffers is copied once more, and a row has a megabyte.
_BUFFER = 4 << 20
# CHOICE: the released rows are four levels deep; what is far deeper is no row but an attack on whoever walks over it.
MAX_DEPTH = 64

_LONG = 4096  # bytes of a text from which lifting pays
_MAX_QUOTES = 2000  # quotes that are looked at in one line; what follows them is parsed as it stands
_BASE64 = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/")
_BOM = codecs.BOM_UTF8

Row = tuple[str, Any] | Rejected


def rows(path: pathlib.Path, *, lifted: Collection[str] = ()) -> Iterator[Row]:
    """Yields (place, value) for each row of a JSONL file or of a JSON array, and what is wrong with the others.

    Long texts under a key in `lifted` may come as bytes. The place is `file:line`, or `file[number]` in an array.

    Raises:
      UserError: the file cannot be read, or an array is broken, so that nothing behind the break can be found.
    """
    try:
        with open(path, "rb") as file:
            begin = file.read(4096).removeprefix(_BOM).lstrip()[:1]
        yield from _array(path) if begin == b"[" else _lines(path, lifted)
    except OSError as error:
        raise errors.UserError(f"{path}: cannot be read ({error.strerror}); get the file again") from error


def name_of(path: pathlib.Path) -> str:
    """Returns a file's name as a record can keep it: bytes that are no UTF-8 are spelled out."""
    return path.name.encode("utf-8", "backslashreplace").decode("utf-8")


def _lines(path: pathlib.Path, lifted: Collection[str]) -> Iterator[Row]:
    for number, line in enumerate(bounded_lines(path), start=1):
        place = f"{name_of(path)}:{number}"
        if line is None:
            yield Rejected(place, "line-too-long", f"has more than {MAX_LINE_BYTES} bytes")
        elif line.strip():
            try:
                yield place, parse(line, lifted=lifted)
            except RowError as error:
                yield Rejected(place, error.reason, str(error))


def bounded_lines(path: pathlib.Path) -> Iterator[bytes | None]:
    """Yields the lines of a file without byte order mark and end, and None for one above `MAX_LINE_BYTES`.

    A line ends with LF, CR LF or CR: a bare CR cannot stand inside of JSON's texts.
    """
    with open(path, "rb", buffering=_BUFFER) as file:
        while line := file.readline(MAX_LINE_BYTES + 1):
            if len(line) > MAX_LINE_BYTES and not line.endswith(b"\n"):
                del line
                while (rest := file.readline(_CHUNK)) and not rest.endswith(b"\n"):
                    pass
                yield None
                continue
            line = line.removesuffix(b"\n").removesuffix(b"\r")
            for part in line.split(b"\r") if b"\r" in line else (line,):
                yield part.removeprefix(_BOM)


def parse(line: bytes, *, lifted: Collection[str] = ()) -> Any:
    """Returns the value of one line of JSON.

    Raises:
      RowError: `not-utf8`, `not-json` (NaN and Infinity are none), `duplicate-key` or `too-deep`.
    """
    rest, texts, token = _lift(line) if lifted and len(line) > _LONG else (line, [], "")
    faults: list[RowError] = []
    try:
        value = _decoder(faults).decode(rest.decode("utf-8"))
        if faults:
            raise faults[0]
        if rest.count(b"[") + rest.count(b"{") > MAX_DEPTH:
            _check_depth(value)
        return _restored(value, texts, token=token, keep=False, lifted=lifted) if texts else value
    except RowError:
        raise
    except UnicodeDecodeError as error:
        raise RowError("not-utf8", str(error)) from error
    except RecursionError as error:
        raise RowError("too-deep", "is nested too deeply") from error
    except ValueError as error:
        raise RowError("not-json", str(error)) from error


def _decoder(faults: list[RowError]) -> json.JSONDecoder:
    """Returns a decoder that notes keys that stand twice and numbers that are none.

    It must not raise at them: in an array the end of the row would be lost.
    """

    def pairs(found: list[tuple[str, Any]]) -> dict[str, Any]:
        value = dict(found)
        if len(value) != len(found):
            names = [name for name, _ in found]
            twice = next(name for name in names if names.count(name) > 1)
            faults.append(RowError("duplicate-key", f"key {twice[:80]!r} stands twice in one object"))
        return value

    def constant(name: str) -> None:
        faults.append(RowError("not-json", f"{name} is no number of JSON"))

    return json.JSONDecoder(object_pairs_hook=pairs, parse_constant=constant)


def _check_depth(value: Any) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [each for group in level if isinstance(group, dict | list) for each in _members(group)]
        if not level:
            return
    raise RowError("too-deep", f"is nested more than {MAX_DEPTH} levels deep")


def _members(group: dict | list) -> Iterable[Any]:
    return group.values() if isinstance(group, dict) else group


def _lift(line: bytes) -> tuple[bytes, list[bytes], str]:
    """Returns the line with a token in place of each long text, these texts, and how the tokens begin.

    Between two quotes that follow each other, with no backslash between them, stands either the rest of a text or what
    separates two texts; the latter never begins with a character of base64.
    """
    parts, texts, done, start = [], [], 0, line.find(b'"')
    for _ in range(_MAX_QUOTES):
        end = line.find(b'"', start + 1) if start >= 0 else -1
        if end < 0:
            break
        if end - start > _LONG and line[start + 1] in _BASE64 and line.find(b"\\", start, end) < 0:
            parts.append(line[done : start + 1])
            texts.append(line[start + 1 : end])
            done = end
        start = end
    parts.append(line[done:])
    token = "lifted"
    while any(token.encode() in part for part in parts):
        token += "-"
    if not texts or any(b"\\u00" in part for part in parts):  # an escape could spell the token
        return line, [], ""
    numbered = [f"{token}{number};".encode() for number in range(len(texts))] + [b""]
    return b"".join(each for pair in zip(parts, numbered, strict=True) for each in pair), texts, token


def _restored(value: Any, texts: list[bytes], *, token: str, keep: bool, lifted: Collection[str]) -> Any:
    """Returns a parsed value with the lifted texts in place of their tokens, as bytes where `keep` allows."""
    if isinstance(value, dict):
        return {
            _restored(name, texts, token=token, keep=False, lifted=()): _restored(
                each, texts, token=token, keep=name in lifted, lifted=lifted
            )
            for name, each in value.items()
        }
    if isinstance(value, list):
        return [_restored(each, texts, token=token, keep=keep, lifted=lifted) for each in value]
    if not isinstance(value, str) or token not in value:
        return value
    before, *after = value.split(token)
    for part in after:
        number, _, behind = part.partition(";")
        if keep and not before and not behind and len(after) == 1:
            return texts[int(number)]
        text = texts[int(number)].decode("utf-8")
        if any(character < " " for character in text):
            raise RowError("not-json", "a text holds a control character")
        before += text + behind
    return before


def _array(path: pathlib.Path) -> Iterator[Row]:
    """Yields the elements of a JSON array without holding more of it than one element and a chunk."""
    buffer = _Window(path)
    buffer.skip("[")
    number = 0
    while buffer.peek() != "]":
        place = f"{name_of(path)}[{number}]"
        faults: list[RowError] = []
        value = buffer.element(_decoder(faults), place)
        try:
            if faults:
                raise faults[0]
            _check_depth(value)
            yield place, value
        except RowError as error:
            yield Rejected(place, error.reason, str(error))
        number += 1
        if buffer.peek() != "]":
            buffer.skip(",")


class _Window:
    """The part of a text file that is being parsed."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._file = codecs.open(str(path), "r", "utf-8-sig")
        self._text, self._at, self._ended = "", 0, False

    def _more(self) -> bool:
        """Reads as much again as is held, so that a long element costs little more than one pass."""
        if self._ended:
            return False
        held = self._text[self._at :]
        try:
            read = self._file.read(max(_CHUNK, len(held)))
        except UnicodeDecodeError as error:
            raise self._broken(f"is no UTF-8: {error}") from error
        self._text, self._at, self._ended = held + read, 0, not read
        if self._ended:
            self._file.close()
        return not self._ended

    def _broken(self, what: str) -> errors.UserError:
        return errors.UserError(f"{self._path}: {what}; what follows cannot be found, so mend or get the file again")

    def peek(self) -> str:
        """Returns the next character that is no blank, empty at the end."""
        while True:
            while self._at < len(self._text) and self._text[self._at] in " \t\r\n":
                self._at += 1
            if self._at < len(self._text) or not self._more():
                return self._text[self._at : self._at + 1]

    def skip(self, wanted: str) -> None:
        """Goes past a character.

        Raises:
          UserError: another one stands there.
        """
        if self.peek() != wanted:
            raise self._broken(f"has {self.peek()!r} in place of {wanted!r}, so it is no whole JSON array")
        self._at += 1

    def element(self, decoder: json.JSONDecoder, place: str) -> Any:
        """Returns the next element and goes past it.

        Raises:
          UserError: there is none, or it is longer than `MAX_LINE_BYTES`.
        """
        self.peek()
        while True:
            try:
                value, end = decoder.raw_decode(self._text, self._at)
                if end < len(self._text) or self._ended:  # a number may go on behind the window
                    self._at = end
                    return value
            except RecursionError as error:
                raise self._broken(f"{place} is nested too deeply") from error
            except ValueError as error:
                if len(self._text) - self._at > MAX_LINE_BYTES or self._ended:
                    raise self._broken(f"{place} is no JSON or longer than {MAX_LINE_BYTES} characters") from error
            self._more()
