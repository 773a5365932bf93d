"""Pictures with captions, for stage 1: WebDataset tars, TSV files, or a folder of pictures with `.txt` beside them.

The instruction is one of the COCO captioning pool's, as in stage I of the paper (arXiv 2306.04387, on
LAION-400M).

    00000.tar: 000000012.jpg, 000000012.txt, 000000012.json    as img2dataset writes them
    cc3m.tsv: caption <tab> url, pictures in --images          CC3M's columns, in either order, with or without a header
    any/folder/a.jpg, any/folder/a.txt
"""

import dataclasses
import functools
import os
import pathlib
import urllib.parse
import zlib
from collections.abc import Iterator, Sequence

from m3it_jax import errors
from m3it_jax.dataset_building.interchange import (
    captions,
    file_forms,
    folder_pairs,
    image_endings,
    json_rows,
    picture_values,
    request,
    tab_separated,
    tar_pairs,
)
from m3it_jax.dataset_building.specification import Assets, Draft, FramePick, Rejected, RowError, SourceSpec

POOL = captions.POOL

_CAPTION_COLUMNS = ("caption", "title", "text")
_PICTURE_COLUMNS = ("url", "filepath", "file", "filename", "image", "path", "image_path")


def specs(asked: request.Request) -> list[SourceSpec]:
    """Returns the sources of the paths, all of one kind; what `m3it export webdataset` wrote is its source again.

    Raises:
      UserError: a path is missing, the kinds are mixed, or a TSV comes without --images.
    """
    kinds = {_kind(path) for path in asked.paths}
    if len(kinds) > 1:
        raise errors.UserError(f"{asked.paths[0]}: give tars, TSV files or folders of pictures, one kind at a time")
    kind = kinds.pop()
    named = asked.images
    if kind == ".tsv" and named is None:
        raise errors.UserError("format image-text: a TSV names pictures; give --images FOLDER with the downloaded ones")
    if kind == ".tar":
        return tar_pairs.specs(asked, request.files(asked, suffixes=(kind,), default_split="train"))
    if kind == ".tsv" and named is not None:
        files = request.files(asked, suffixes=(kind,), default_split="train")
        make = functools.partial(drafts, files=tuple(files), read=functools.partial(_table, folder=named))
    else:
        files, rules = folder_pairs.files(asked)
        make = functools.partial(drafts, files=tuple(files), read=functools.partial(folder_pairs.read, rules=rules))
    return [request.spec(asked, files, make, task="captioning", pool=POOL)]


def _kind(path: pathlib.Path) -> str:
    """Returns `.tar`, `.tsv`, or nothing for a folder of pictures."""
    if not path.exists():
        raise errors.UserError(f"{path}: there is no such file or folder")
    if path.is_dir():
        kinds = [kind for kind in (".tar", ".tsv") if any(_of_kind(path, kind))]
        if len(kinds) > 1:
            raise errors.UserError(f"{path}: holds tars and TSV files; give them one kind at a time")
        return kinds[0] if kinds else ""
    if path.suffix not in (".tar", ".tsv"):
        raise errors.UserError(f"{path}: must be a .tar, a .tsv or a folder of pictures")
    return path.suffix


def _of_kind(path: pathlib.Path, kind: str) -> Iterator[pathlib.Path]:
    return (each for each in path.rglob(f"*{kind}") if not request.is_of_macos(each.name))


def drafts(
    assets: Assets, split: str, seed: int, *, files: tuple[request.File, ...], read: object
) -> Iterator[Draft | Rejected]:
    """Yields the drafts of a split; `read(file)` gives those of one file or folder."""
    del assets, seed
    assert callable(read)
    for file in files:
        if file.split == split:
            yield from read(file)


# -- tables


@dataclasses.dataclass(frozen=True)
class _Downloaded:
    """A picture that was downloaded from an address: looked for under each name that downloaders give it."""

    folder: pathlib.Path
    names: tuple[str, ...]

    def read(self, pick: FramePick) -> tuple[bytes, ...]:
        """Returns the picture's bytes.

        Raises:
          RowError: there is none under any of the names, or it cannot be read.
        """
        for name in self.names:
            try:
                return picture_values.Named(self.folder, name).read(pick)
            except RowError as error:
                if error.reason != "picture-missing":
                    raise
        raise RowError("picture-missing", f"there is none of {', '.join(self.names)[:300]}")

    def place(self) -> str | None:
        """Returns where the picture lies, or None if it is not there."""
        places = (picture_values.Named(self.folder, name).place() for name in self.names)
        return next((place for place in places if place is not None), None)


def _table(file: request.File, *, folder: pathlib.Path) -> Iterator[Draft | Rejected]:
    """Yields the rows of one TSV."""
    columns: tuple[int, int] | None = None
    row_number = 0
    begin, skipped = file.name, len(json_rows.spelled(file.path.name))  # a place names the folder too
    file_forms.check_text(file.path)
    for row in tab_separated.rows(file.path):
        if isinstance(row, Rejected):
            yield dataclasses.replace(row, place=begin + row.place[skipped:])
            continue
        place, cells = begin + row[0][skipped:], row[1]
        if columns is None:
            columns, is_header = _columns(cells)
            if is_header:
                continue
        row_number += 1
        if len(cells) <= max(columns):
            yield Rejected(place, "missing-field", f"has {len(cells)} columns, must have {max(columns) + 1}")
            continue
        caption, name = (cells[column].strip() for column in columns)
        if not name:
            yield Rejected(place, "text-only", "the picture's column is empty")
            continue
        image = _Downloaded(folder, tuple(_names(name, row_number - 1)))
        url = name if "://" in name else ""
        group = name[:200].replace("+", "_")
        yield captions.draft(caption, image, group=group, origin=place, split=file.split, url=url)


def _columns(cells: Sequence[str]) -> tuple[tuple[int, int], bool]:
    """Returns the numbers of the caption's and the picture's column by the first line, and whether it is a header."""
    words = [cell.strip().lower() for cell in cells]
    caption = next((words.index(word) for word in _CAPTION_COLUMNS if word in words), None)
    name = next((words.index(word) for word in _PICTURE_COLUMNS if word in words), None)
    if caption is not None and name is not None:
        return (caption, name), True
    # CC3M and CC12M have no header: caption and url, url and caption.
    first = cells[0].strip().lower()
    return ((1, 0) if "://" in first or first.endswith(image_endings.PICTURES) else (0, 1)), False


def _names(name: str, row: int) -> Iterator[str]:
    """Yields the names under which the picture of a row may lie.

    igorbrigadir/DownloadConceptualCaptions (download_data.py) calls it `<row>_<CRC-32 of the address>`.
    """
    if "://" not in name:
        yield os.path.normpath(name) if name else name
        return
    crc = zlib.crc32(name.encode("utf-8", "replace"))
    yield f"{row}_{crc}"
    yield str(crc)
    for ending in (".jpg", ".png"):
        yield f"{row}_{crc}{ending}"
        yield f"{crc}{ending}"
    if base := urllib.parse.unquote(urllib.parse.urlsplit(name).path.rsplit("/", 1)[-1]):
        yield base
