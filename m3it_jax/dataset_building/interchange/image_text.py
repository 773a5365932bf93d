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
import tarfile
import urllib.parse
import zlib
from collections.abc import Iterator, Sequence

from m3it_jax import errors
from m3it_jax.dataset_building.interchange import json_rows, request, tab_separated
from m3it_jax.dataset_building.publishers import raw
from m3it_jax.dataset_building.specification import Assets, Draft, FramePick, Rejected, RowError, SourceSpec

POOL = "captioning/coco"
PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")

# CHOICE: a caption is a sentence or a page; the longest of LAION are a few kilobytes.
MAX_TEXT_BYTES = 1 << 20

_CAPTION_COLUMNS = ("caption", "title", "text")
_PICTURE_COLUMNS = ("url", "filepath", "file", "filename", "image", "path", "image_path")


def specs(asked: request.Request) -> list[SourceSpec]:
    """Returns the source of the paths, all of one kind.

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
    if kind:
        files = request.files(asked, suffixes=(kind,), default_split="train")
    else:
        files = [request.File(path, request.split_of(path, asked.split, default="train")) for path in asked.paths]
    read = {".tar": _tar, ".tsv": functools.partial(_table, folder=named or pathlib.Path()), "": _folder}[kind]
    make = functools.partial(drafts, files=tuple(files), read=read)
    return [request.spec(asked, files, make, task="captioning", pool=POOL)]


def _kind(path: pathlib.Path) -> str:
    if not path.exists():
        raise errors.UserError(f"{path}: there is no such file or folder")
    if path.is_dir():
        return next((kind for kind in (".tar", ".tsv") if next(path.rglob(f"*{kind}"), None)), "")
    if path.suffix not in (".tar", ".tsv"):
        raise errors.UserError(f"{path}: must be a .tar, a .tsv or a folder of pictures")
    return path.suffix


def drafts(
    assets: Assets, split: str, seed: int, *, files: tuple[request.File, ...], read: object
) -> Iterator[Draft | Rejected]:
    """Yields the drafts of a split; `read(path, split)` gives those of one file or folder."""
    del assets, seed
    assert callable(read)
    for file in files:
        if file.split == split:
            yield from read(file.path, split)


def _draft(
    caption: str, image: bytes | raw.PictureFile, *, group: str, origin: str, split: str, url: str = ""
) -> Draft:
    extra = {"url": url[:2000]} if url else {}
    return Draft("caption", "", caption, (image,), group, origin=origin, origin_split=split, extra=extra)


# -- tars


def _tar(path: pathlib.Path, split: str) -> Iterator[Draft | Rejected]:
    """Yields the pairs of one tar. Nothing is unpacked: members are read in passing, and only ordinary files are."""
    name = json_rows.name_of(path)
    key: tuple[str, str] = ("", "")
    parts: dict[str, bytes | None] = {}
    try:
        with tarfile.open(path, "r|") as tar:
            for member in tar:
                tar.members = []  # type: ignore[attr-defined]  # tarfile keeps every member it has passed
                stem, dot, ending = pathlib.PurePosixPath(member.name).name.partition(".")
                folder = str(pathlib.PurePosixPath(member.name).parent)
                if not member.isfile() or not dot or not stem:
                    if not member.isdir():
                        yield Rejected(
                            f"{name}:{member.name[:200]}", "not-a-file", "is no ordinary file with an ending"
                        )
                    continue
                if (folder, stem) != key and parts:
                    yield _pair(f"{name}:{key[1]}", parts, split=split)
                    parts = {}
                key = (folder, stem)
                parts["." + ending.lower()] = _member(tar, member)
        if parts:
            yield _pair(f"{name}:{key[1]}", parts, split=split)
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        if parts:
            yield _pair(f"{name}:{key[1]}", parts, split=split)
        text = f"cannot be read from here on ({str(error)[:200]}); get the tar again"
        yield Rejected(f"{name}:{key[1] if key else 0}", "broken-tar", text)


def _member(tar: tarfile.TarFile, member: tarfile.TarInfo) -> bytes | None:
    """Returns the content of a member, or None if it is too large or of a kind that is not asked for."""
    ending = "." + member.name.rsplit(".", 1)[-1].lower()
    most = raw.MAX_PICTURE_BYTES if ending in PICTURES else MAX_TEXT_BYTES if ending in (".txt", ".json") else 0
    if member.size > most:
        return None
    file = tar.extractfile(member)
    return file.read() if file is not None else None


def _pair(place: str, parts: dict[str, bytes | None], *, split: str) -> Draft | Rejected:
    """Returns the draft of the files that share a name."""
    image = next(((ending, data) for ending, data in parts.items() if ending in PICTURES), None)
    if image is None:
        return Rejected(place, "no-image", f"has {', '.join(sorted(parts))} and no picture")
    if image[1] is None:
        return Rejected(place, "picture-too-large", f"has more than {raw.MAX_PICTURE_BYTES} bytes")
    try:
        about = _about(parts.get(".json"))
        text = parts.get(".txt")
        caption = text.decode("utf-8") if text is not None else about.get("caption")
    except RowError as error:
        return Rejected(place, error.reason, str(error))
    except UnicodeDecodeError as error:  # which has a `reason` too, a sentence
        return Rejected(place, "not-utf8", str(error))
    if not isinstance(caption, str) or not caption.strip():
        return Rejected(place, "caption-missing", "has neither .txt nor a caption in .json")
    url = about.get("url")
    group = request.group_of([image[1]])
    url = url if isinstance(url, str) else ""
    return _draft(caption.strip(), image[1], group=group, origin=place, split=split, url=url)


def _about(data: bytes | None) -> dict:
    value = json_rows.parse(data) if data else {}
    return value if isinstance(value, dict) else {}


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
            if raw.find((self.folder,), name) is not None:
                return raw.PictureFile((self.folder,), name).read(pick)
        raise RowError("picture-missing", f"there is none of {', '.join(self.names)[:300]}")


def _table(path: pathlib.Path, split: str, *, folder: pathlib.Path) -> Iterator[Draft | Rejected]:
    """Yields the rows of one TSV."""
    columns: tuple[int, int] | None = None
    row_number = 0
    for row in tab_separated.rows(path):
        if isinstance(row, Rejected):
            yield row
            continue
        place, cells = row
        if columns is None:
            columns, is_header = _columns(cells)
            if is_header:
                continue
        row_number += 1
        if len(cells) <= max(columns):
            yield Rejected(place, "missing-field", f"has {len(cells)} columns, must have {max(columns) + 1}")
            continue
        caption, name = (cells[column].strip() for column in columns)
        image = _Downloaded(folder, tuple(_names(name, row_number - 1)))
        url = name if "://" in name else ""
        yield dataclasses.replace(
            _draft(caption, b"", group=name[:200].replace("+", "_"), origin=place, split=split, url=url),
            images=(image,),
        )


def _columns(cells: Sequence[str]) -> tuple[tuple[int, int], bool]:
    """Returns the numbers of the caption's and the picture's column by the first line, and whether it is a header."""
    words = [cell.strip().lower() for cell in cells]
    caption = next((words.index(word) for word in _CAPTION_COLUMNS if word in words), None)
    name = next((words.index(word) for word in _PICTURE_COLUMNS if word in words), None)
    if caption is not None and name is not None:
        return (caption, name), True
    # CC3M and CC12M have no header: caption and url, url and caption.
    first = cells[0].strip().lower()
    return ((1, 0) if "://" in first or first.endswith(PICTURES) else (0, 1)), False


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


# -- folders


def _folder(path: pathlib.Path, split: str) -> Iterator[Draft | Rejected]:
    """Yields the pictures of a folder, of its sub-folders too, in order of their names; links are not followed."""
    found = False
    for folder, folders, names in os.walk(path):
        folders.sort()
        for name in sorted(names):
            stem, ending = os.path.splitext(name)
            if ending.lower() not in PICTURES:
                continue
            found = True
            relative = os.path.relpath(os.path.join(folder, name), path)
            place = relative.encode("utf-8", "backslashreplace").decode("utf-8")
            caption = _caption(path, os.path.join(os.path.dirname(relative), stem + ".txt"))
            if isinstance(caption, RowError):
                yield Rejected(place, caption.reason, str(caption))
                continue
            image = raw.PictureFile((path,), relative)
            yield _draft(caption, image, group=place.replace("+", "_"), origin=place, split=split)
    if not found:
        raise errors.UserError(f"{path}: holds no picture; give tars, a TSV or a folder of pictures with .txt captions")


def _caption(root: pathlib.Path, name: str) -> str | RowError:
    try:
        path = raw.find((root,), name)
        if path is None or not path.is_file():
            return RowError("caption-missing", f"there is no {os.path.basename(name)} beside it")
        if path.stat().st_size > MAX_TEXT_BYTES:
            return RowError("line-too-long", f"its caption has more than {MAX_TEXT_BYTES} bytes")
        return path.read_text("utf-8-sig").strip()
    except RowError as error:
        return error
    except (OSError, UnicodeDecodeError) as error:
        return RowError("not-utf8", f"its caption cannot be read ({error})")
