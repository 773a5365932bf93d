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
from m3it_jax.dataset_building.interchange import file_forms
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


def rows(path: pathlib.Path, *, lifted: Collection[str] = (), name: str = "") -> Iterator[Row]:
    """Yields (place, value) for each row of a JSONL file or of JSON arrays, and what is wrong with the others.

    Long texts under a key in `lifted` may come as bytes. The place is `name:line`, or `name[number]` in an array;
    an empty `name` is the file's own. Arrays that follow each other (`cat a.json b.json`) are numbered as one.

    Raises:
      UserError: the file cannot be read or is of another form, or an array is broken, so that nothing behind the break
        can be found.
    """
    name = name or spelled(path.name)
    try:
        begin = file_forms.check_text(path).removeprefix(_BOM).lstrip()[:1]
        yield from _arrays(path, name) if begin == b"[" else _lines(path, lifted, name=name)
    except OSError as error:
        raise errors.UserError(f"{path}: cannot be read ({error.strerror}); get the file again") from error


def spelled(name: str) -> str:
    """Returns a file's name as a record can keep it: bytes that are no UTF-8 are spelled out."""
    return name.encode("utf-8", "backslashreplace").decode("utf-8")


def _lines(path: pathlib.Path, lifted: Collection[str], *, name: str) -> Iterator[Row]:
    """Yields the rows of lines; the first waits for the second, since one alone may be a whole file in one object."""
    waiting: list[Row] = []
    is_first = True
    for number, line in enumerate(bounded_lines(path), start=1):
        place = f"{name}:{number}"
        if line is not None and not line.strip():
            continue
        if waiting:
            if isinstance(waiting[0], Rejected) and (line or b"").lstrip().startswith(b'"'):
                raise file_forms.one_object(path)  # the second line goes on inside of the object
            yield waiting.pop()
        row = _line(place, line, lifted)
        if is_first:
            waiting.append(row)
            is_first = False
        else:
            yield row
    if waiting:
        file_forms.check_one_object(path, waiting[0])
        yield waiting.pop()


def _line(place: str, line: bytes | None, lifted: Collection[str]) -> Row:
    if line is None:
        return Rejected(place, "line-too-long", f"has more than {MAX_LINE_BYTES} bytes")
    try:
        return place, parse(line, lifted=lifted)
    except RowError as error:
        return Rejected(place, error.reason, str(error))


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
    except json.JSONDecodeError as error:
        raise RowError("not-json", _fault(line) if texts else _told(error)) from error
    except ValueError as error:
        raise RowError("not-json", str(error)) from error


def _fault(line: bytes) -> str:
    """Returns what is wrong with a line of which texts were lifted out, so that columns had moved."""
    try:
        _decoder([]).decode(line.decode("utf-8"))
    except json.JSONDecodeError as error:
        return _told(error)
    except (ValueError, RecursionError) as error:
        return str(error)
    return "is no JSON"


def _told(error: json.JSONDecodeError) -> str:
    seen = error.doc[error.pos : error.pos + 20]
    return f"column {error.pos + 1}: {error.msg}, there stands {seen!r}" if seen else f"is cut off: {error.msg}"


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


def _arrays(path: pathlib.Path, name: str) -> Iterator[Row]:
    """Yields the elements of JSON arrays without holding more of them than one element and a chunk."""
    buffer = _Window(path)
    number = 0
    while buffer.peek():
        buffer.skip("[")
        while buffer.peek() != "]":
            place = f"{name}[{number}]"
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
        buffer.skip("]")


class _Window:
    """The part of a text file that is being parsed."""

    def __init__(self, path: pathlib.Path) -> None:
        self._path = path
        self._file = codecs.open(str(path), "r", "utf-8-sig")
        self._text, self._at, self._ended = "", 0, False
        self._passed = 0  # characters before the window

    def _more(self) -> bool:
        """Reads as much again as is held, so that a long element costs little more than one pass."""
        if self._ended:
            return False
        held = self._text[self._at :]
        try:
            read = self._file.read(max(_CHUNK, len(held)))
        except UnicodeDecodeError as error:
            raise self._broken(f"is no UTF-8 from byte {file_forms.first_bad_byte(self._path)} on") from error
        self._passed += self._at
        self._text, self._at, self._ended = held + read, 0, not read
        if self._ended:
            self._file.close()
        return not self._ended

    def _broken(self, what: str, at: int | None = None) -> errors.UserError:
        """Returns the refusal; `at` is the place in the window, if one can be named."""
        where = "" if at is None else f" at {file_forms.place_of(self._path, self._passed + at)}"
        return errors.UserError(
            f"{self._path}: {what}{where}; what follows cannot be found, so mend or get the file again"
        )

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
        found = self.peek()
        if found != wanted:
            what = f"has {found!r}" if found else "ends"
            raise self._broken(f"{what} in place of {wanted!r}, so it is no whole JSON array", self._at)
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
                raise self._broken(f"{place} is nested too deeply", self._at) from error
            except ValueError as error:
                if self._ended:
                    told = getattr(error, "msg", str(error))
                    raise self._broken(f"{place} is no JSON ({told})", getattr(error, "pos", self._at)) from error
                if len(self._text) - self._at > MAX_LINE_BYTES:
                    raise self._broken(f"{place} is longer than {MAX_LINE_BYTES} characters", self._at) from error
            self._more()
