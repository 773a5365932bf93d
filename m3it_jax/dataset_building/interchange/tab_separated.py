"""Rows of a TSV file of unknown origin: cells in quotes as table programs write them, and quotes that are text.

a "big" dog <tab> a.jpg              a file without quoting, as CC3M's: every quote is text
"a ""big"" dog" <tab> a.jpg          as pandas, R and spreadsheets write it: a quote inside is doubled
"two                                 in quotes a cell may hold tabs, and go on in the next line
lines" <tab> a.jpg
"""

import collections
import dataclasses
import itertools
import math
import pathlib
from collections.abc import Iterator

from m3it_jax.dataset_building.interchange import json_rows
from m3it_jax.dataset_building.specification import Rejected

# CHOICE: a row is a caption, a sentence or a page, and an address; the longest of LAION are a few kilobytes.
MAX_ROW_BYTES = 1 << 20
# CHOICE: a quote that opens a cell and is not closed so many lines further down is text.
_MAX_ROW_LINES = 100
# CHOICE: so many rows tell whether quotes are part of the form or of the texts.
_SEEN_ROWS = 100

_QUOTE = '"'


@dataclasses.dataclass(frozen=True)
class _Cell:
    """A cell as it stands, and what its quotes hold where they are around all of it; None elsewhere."""

    literal: str
    quoted: str | None = None

    def needs_quotes(self) -> bool:
        """Returns whether a table program would put this text in quotes."""
        return self.quoted is not None and any(mark in self.quoted for mark in '"\t\n')


@dataclasses.dataclass(frozen=True)
class _Line:
    place: str
    text: str


def rows(path: pathlib.Path) -> Iterator[tuple[str, list[str]] | Rejected]:
    """Yields (place, cells) for each row of a file that is not blank, and what is wrong with the others.

    Quotes around a cell are taken off where the text inside needs them, where the whole row has them, and where the
    first rows show that the file has them: a column in which no cell is without, or a cell that needs them.
    """
    read = _rows(path)
    first = list(itertools.islice(read, _SEEN_ROWS))
    is_quoted = _is_quoted([row[1] for row in first if not isinstance(row, Rejected)])
    for row in itertools.chain(first, read):
        if isinstance(row, Rejected):
            yield row
            continue
        place, cells = row
        unwrap = is_quoted or all(cell.quoted is not None for cell in cells)
        yield place, [_text(cell, unwrap=unwrap) for cell in cells]


def _text(cell: _Cell, *, unwrap: bool) -> str:
    return cell.quoted if cell.quoted is not None and (unwrap or cell.needs_quotes()) else cell.literal


def _is_quoted(seen: list[list[_Cell]]) -> bool:
    body = seen[1:] or seen  # a header may stand without quotes above cells that have them
    columns = list(itertools.zip_longest(*body))
    return any(all(cell and cell.quoted is not None for cell in column) for column in columns) or any(
        cell.needs_quotes() for row in seen for cell in row
    )


def _rows(path: pathlib.Path) -> Iterator[tuple[str, list[_Cell]] | Rejected]:
    waiting: collections.deque[_Line | Rejected] = collections.deque()  # read ahead, and part of no earlier row
    lines = _ahead(waiting, path)
    width = 0  # cells of the first row
    has_form = False  # a cell has shown that quotes are part of the file's form
    for line in lines:
        if isinstance(line, Rejected):
            yield line
            continue
        if not line.text.strip():
            continue
        cells, is_open = _cells(line.text)
        if (
            not has_form and len(cells) < width == line.text.count("\t") + 1
        ):  # a quote here and one there, each a text's own
            cells = [_Cell(cell) for cell in line.text.split("\t")]
        elif is_open:
            joined, taken = _joined(line, lines, width=math.inf if has_form else max(width, 2))
            cells = joined or cells
            waiting.extendleft(reversed(taken))
        width = width or len(cells)
        has_form = has_form or any(cell.needs_quotes() for cell in cells)
        yield line.place, cells


def _ahead(waiting: collections.deque[_Line | Rejected], path: pathlib.Path) -> Iterator[_Line | Rejected]:
    """Yields what is put into `waiting`, and the lines of a file while that is empty."""
    for line in _lines(path):
        waiting.append(line)
        while waiting:
            yield waiting.popleft()


def _lines(path: pathlib.Path) -> Iterator[_Line | Rejected]:
    for number, line in enumerate(json_rows.bounded_lines(path), start=1):
        place = f"{json_rows.spelled(path.name)}:{number}"
        if line is None or len(line) > MAX_ROW_BYTES:
            yield Rejected(place, "line-too-long", f"has more than {MAX_ROW_BYTES} bytes")
            continue
        try:
            yield _Line(place, line.decode("utf-8"))
        except UnicodeDecodeError as error:
            yield Rejected(place, "not-utf8", str(error))


def _cells(text: str) -> tuple[list[_Cell], bool]:
    """Returns the cells of a text, and whether one is open: its quote is not closed. An open one is read as text."""
    if _QUOTE not in text:
        return [_Cell(cell) for cell in text.split("\t")], False
    cells, place, is_open = [], 0, False
    while place <= len(text):
        end = text.find("\t", place)
        end = len(text) if end < 0 else end
        quoted = None
        if text.startswith(_QUOTE, place):
            close = _closing(text, place + 1)
            is_open = is_open or close < 0
            if close >= 0 and text[close + 1 : close + 2] in ("", "\t"):
                quoted, end = text[place + 1 : close].replace('""', _QUOTE), close + 1
        cells.append(_Cell(text[place:end], quoted))
        place = end + 1
    return cells, is_open


def _closing(text: str, start: int) -> int:
    """Returns where the quote stands that closes a cell, or -1; two together are one of the text."""
    while (found := text.find(_QUOTE, start)) >= 0 and text.startswith('""', found):
        start = found + 2
    return found


def _joined(
    line: _Line, following: Iterator[_Line | Rejected], *, width: float
) -> tuple[list[_Cell] | None, list[_Line | Rejected]]:
    """Returns the cells of a row of several lines and no line left over; or None, and the lines that were read.

    The quote is text where the line it stands in and the next are whole rows of `width` cells without it.
    """
    taken: list[_Line | Rejected] = []
    text = line.text
    is_whole = text.count("\t") + 1 >= width
    for more in following:
        taken.append(more)
        if isinstance(more, Rejected) or (is_whole and more.text.count("\t") + 1 >= width):
            break
        text = f"{text}\n{more.text}"
        if _QUOTE in more.text:
            cells, is_open = _cells(text)
            if not is_open:
                # A quote that closes in the middle of a cell is text, and so was the one that opened it.
                is_row = any("\n" in (cell.quoted or "") for cell in cells)
                return (cells, []) if is_row and not any("\n" in _bare(cell) for cell in cells) else (None, taken)
        if len(text) > MAX_ROW_BYTES or len(taken) >= _MAX_ROW_LINES:
            break
    return None, taken


def _bare(cell: _Cell) -> str:
    return "" if cell.quoted is not None else cell.literal
