"""What a row says about one picture -> its bytes, or where it lies: every form that rows have for it.

"0.jpg"    "/data/coco/0.jpg"    "file:///data/coco/0.jpg"      a name, looked up inside of --images alone
"iVBOR..."    "data:image/png;base64,iVBOR..."                  base64
{"bytes": ..., "path": "0.jpg"}    {"url": ...}    {"path": ...}    and the same inside of each other
"https://..."                                                   refused: nothing is fetched
"""

import dataclasses
import functools
import os
import pathlib
import re
import stat
import unicodedata
import urllib.parse
from collections.abc import Iterator, Mapping
from typing import Any

from m3it_jax import schema
from m3it_jax.dataset_building.interchange import request
from m3it_jax.dataset_building.publishers import raw
from m3it_jax.dataset_building.specification import FramePick, PictureSource, RowError

# How an object holds its picture: the hub's Image feature and ms-swift (bytes, path), transformers (url, path, base64,
# image), OpenAI (image_url: {url}), Anthropic (source: {data}). The bytes come first: a path beside them is a name.
_KEYS = ("bytes", "base64", "data", "url", "path", "image", "image_url", "source")

# CHOICE: a text as long as this is no file name; no file system has longer ones in a folder (255 bytes each).
_LONGEST_NAME = 1024
_BASE64 = re.compile(r"[A-Za-z0-9+/\s]{64,}={0,2}\s*")


@dataclasses.dataclass(frozen=True)
class Named:
    """A picture by its name, looked up inside of a folder when its record is made.

    Attributes:
      folder: The folder.
      name: The name, relative to it.
    """

    folder: pathlib.Path
    name: str

    def read(self, pick: FramePick) -> tuple[bytes, ...]:
        """Returns the picture's bytes.

        Raises:
          RowError: `picture-missing`, `path-outside`, `picture-too-large` or `picture-unreadable`.
        """
        del pick
        path = self._found()
        if path is None:
            raise RowError("picture-missing", f"there is no {self.name} in {self.folder.name}/{self._hint()}")
        try:
            with open(path, "rb") as file:
                size = os.fstat(file.fileno()).st_size
                if size > raw.MAX_PICTURE_BYTES:
                    raise RowError("picture-too-large", f"{self.name} has {size} bytes")
                return (file.read(),)
        except OSError as error:
            raise RowError("picture-unreadable", f"{self.name}: {error.strerror}") from error

    def place(self) -> str | None:
        """Returns where the picture lies, or None if it is not there or leads out of the folder."""
        try:
            return self._found()
        except RowError:
            return None

    def _found(self) -> str | None:
        """Returns the first spelling of the name that is there.

        Raises:
          RowError: `path-outside`.
        """
        if not self.name or "\0" in self.name or not schema.encodable(self.name):
            raise RowError("path-outside", f"{self.name!r} is no file name")
        root = _resolved(self.folder)
        for name in self._spellings():
            if (path := _below(root, name)) is not None:
                return path
        return None

    def _spellings(self) -> Iterator[str]:
        """Yields the name, then its other Unicode forms (macOS writes é as two characters), then Windows' slashes."""
        yield self.name
        if self.name.isascii() and "\\" not in self.name:
            return
        forms = [unicodedata.normalize(form, self.name) for form in ("NFC", "NFD")]
        yield from dict.fromkeys([*forms, self.name.replace("\\", "/")])

    def _hint(self) -> str:
        begin, slash, rest = self.name.partition("/")
        is_twice = slash and begin == self.folder.name and (self.folder / rest).exists()
        return f"; the name begins with {begin}/ itself, so give the folder above as --images" if is_twice else ""


@functools.lru_cache(maxsize=64)
def _resolved(folder: pathlib.Path) -> str:
    """Returns the folder without links: it is the same for all pictures, and takes longer than opening one."""
    return os.path.realpath(folder)


def _below(root: str, name: str) -> str | None:
    """Returns where a name lies below a folder without links, or None if it is not there.

    Raises:
      RowError: `path-outside`: the name, or a link on the way, leads out.
    """
    path = root
    for part in name.split("/"):
        path = f"{path}/{part}"
        try:
            is_plain = part != ".." and not stat.S_ISLNK(os.lstat(path).st_mode)
        except OSError:  # it is not there, or its name is too long
            return None
        if not is_plain:
            real = os.path.realpath(os.path.join(root, name))
            if not real.startswith(root.rstrip("/") + "/"):
                raise RowError("path-outside", f"{name[:200]!r} leads out of {os.path.basename(root)}/")
            return real if os.path.exists(real) else None
    return path


def of(value: Any, folder: pathlib.Path | None) -> tuple[bytes | PictureSource, str]:
    """Returns a picture and its identity: its name inside of `folder`, or a hash of its content.

    Raises:
      RowError: it is of no known form, remote, or a name that leads out of the folder, or there is no folder.
    """
    value = _innermost(value)
    if isinstance(value, _Encoded):
        return value.data, request.group_of([value.data])
    if isinstance(value, _Path):
        value = value.name
    elif isinstance(value, str) and value[:5].lower() == "file:":
        value = _path_of_url(value)
    elif not _is_name(value, folder):
        data = request.picture(value)
        return data, request.group_of([data])
    if folder is None:
        raise RowError("picture-missing", f"{value[:200]!r} is the name of a file; give --images FOLDER")
    name = inside(value, folder)
    return Named(folder, name), unicodedata.normalize("NFC", name).replace("+", "_")


def named(name: str, folder: pathlib.Path) -> tuple[Named, ...]:
    """Returns the one picture of a name.

    Raises:
      RowError: `path-outside`.
    """
    return (Named(folder, inside(name, folder)),)


def inside(name: str, folder: pathlib.Path) -> str:
    """Returns a name relative to the folder: an absolute one may lie in it.

    Raises:
      RowError: `path-outside`.
    """
    if not os.path.isabs(name):
        return os.path.normpath(name) if name else name
    for path, root in ((os.path.normpath(name), os.path.abspath(folder)), (os.path.realpath(name), folder.resolve())):
        if os.path.commonpath([path, root]) == str(root):
            return os.path.relpath(path, root)
    raise RowError("path-outside", f"{name[:200]!r} lies outside of --images {folder.name}/; nothing there is read")


@dataclasses.dataclass(frozen=True)
class _Encoded:
    data: bytes


@dataclasses.dataclass(frozen=True)
class _Path:
    name: str


def _innermost(value: Any) -> Any:
    """Returns a picture's text, its encoded bytes, or its path; bytes alone are base64 that was not decoded."""
    for _ in range(4):  # {"type": "image_url", "image_url": {"url": {"path": ...}}} is deeper than any
        if not isinstance(value, Mapping):
            break
        found = next((key for key in _KEYS if value.get(key)), None)
        if found is None:
            fields = ", ".join(map(str, value)) or "none"
            raise RowError("missing-field", f"a picture has none of bytes, path, url and image; its fields: {fields}")
        if found == "bytes" and isinstance(value[found], bytes):
            data = value[found]
            if len(data) > raw.MAX_PICTURE_BYTES:
                raise RowError("picture-too-large", f"a picture has {len(data)} bytes")
            return _Encoded(data)
        value = value[found]
        if found == "path" and isinstance(value, str) and "://" not in value:
            return _Path(value)
    if not isinstance(value, str | bytes):
        raise RowError(
            "wrong-type", f"a picture is {type(value).__name__}, must be text or an object with bytes or path"
        )
    return value


def _is_name(value: str | bytes, folder: pathlib.Path | None) -> bool:
    if isinstance(value, bytes) or re.match(r"data:|[a-z][a-z0-9+.-]*://", value[:20], re.IGNORECASE):
        return False
    if len(value) > _LONGEST_NAME or (len(value) > 255 and _BASE64.fullmatch(value)):
        return False
    return folder is not None or (len(value) < 200 and "." in value)


def _path_of_url(url: str) -> str:
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError as error:
        raise RowError("path-outside", f"{url[:200]!r} is no address of a file ({error})") from error
    if parts.netloc not in ("", "localhost"):
        raise RowError("picture-remote", f"{url[:80]!r} is on another machine; nothing is fetched")
    return urllib.parse.unquote(parts.path)
