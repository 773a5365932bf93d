"""Files and folders that are never half-written and never written by two at once."""

import contextlib
import fcntl
import hashlib
import os
import pathlib
import re
import stat
import threading
from collections.abc import Iterator
from typing import BinaryIO

from m3it_jax import errors

_LOCK = ".lock"

_ADDRESS = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+):/+(.*)", re.DOTALL)  # pathlib makes gs:/bucket of gs://bucket


def check_local(path: str | os.PathLike[str], what: str) -> None:
    """Refuses the address of something elsewhere, which would be taken for a folder called `gs:`.

    Args:
      path: A path, or an address that is given in its place.
      what: The option, field or argument that it was given for.

    Raises:
      UserError: it is an address, as gs://bucket/folder or https://host/file.
    """
    found = _ADDRESS.fullmatch(os.fspath(path))
    if found and not os.path.exists(path):
        raise errors.UserError(
            f"{what}: {found[1]}://{found[2]} is an address, not a path. Only files on this machine are read and "
            "written: copy it here first, or mount the bucket as a folder (gcsfuse, s3fs)"
        )


@contextlib.contextmanager
def held(folder: pathlib.Path, *, doing: str, instead: str) -> Iterator[None]:
    """Makes a folder if need be and holds it; the system lets go when the process ends, however it ends.

    `doing` and `instead` word the refusal: what the other process does there, and what to name in its place.

    Raises:
      UserError: another process holds it, or it cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = open(folder / _LOCK, "a+")
    except OSError as error:
        raise errors.UserError(f"{folder}: cannot be written ({error.strerror}); choose another {instead}") from error
    with handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise errors.UserError(
                f"{folder}: another process is {doing} in this folder; wait for it, or choose another {instead}"
            ) from error
        yield


def write_whole(path: pathlib.Path, data: str | bytes) -> None:
    """Writes a file in one step: a reader sees all of the new text or the file as it was.

    What is no file, as /dev/stdout or a named pipe, is written to as it is.

    Raises:
      OSError: the disk is full or the place cannot be written; nothing is left behind.
    """
    content = data if isinstance(data, bytes) else data.encode("utf-8")
    if is_stream(path):
        try:
            with open(path, "wb", buffering=0) as stream:
                _write_all(stream, content)
        except OSError as error:
            raise OSError(error.errno, error.strerror, str(path)) from error
        return
    partial = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_native_id()}.partial")
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    except OSError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error  # the name that the user knows
    finally:
        partial.unlink(missing_ok=True)


def is_stream(path: pathlib.Path) -> bool:
    """Whether a path names a device, a named pipe or an open file of a process: no file may be put in its place.

    Root may replace /dev/null by a file, and every program of the machine would then write into it.
    """
    folder = os.path.realpath(path.parent)
    if folder == "/dev" or folder.startswith("/proc/"):  # of /dev/fd, the open files of this process
        return True
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))


def _write_all(stream: BinaryIO, content: bytes) -> None:
    view = memoryview(content)
    while view:
        view = view[stream.write(view) :]


def sha256(path: pathlib.Path) -> str:
    """Returns the SHA-256 of a file in hex."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
