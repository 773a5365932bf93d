"""A folder that appears whole or not at all: made under another name, renamed at the end, nothing left otherwise."""

import contextlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from m3it_jax import errors, file_safety

_SPARE_BYTES = 256 << 20  # CHOICE: what should stay free on a disk


@contextlib.contextmanager
def made_whole(out: Path) -> Iterator[Path]:
    """Gives an empty folder that becomes `out` when all went well; otherwise nothing of it stays.

    Raises:
      UserError: `out` exists, cannot be written, or another process makes it.
    """
    if os.path.lexists(out):
        raise errors.UserError(f"{out}: exists already; choose another place, or remove it")
    if not out.parent.is_dir():
        raise errors.UserError(f"{out}: folder {out.parent} does not exist; make it first")
    work = out.parent / f".{out.name}.making"
    with file_safety.held(work, doing="making a folder", instead="place for it"):
        try:
            for left in work.iterdir():  # of a process that was killed
                if left.is_dir():
                    shutil.rmtree(left)
            folder = work / "folder"
            folder.mkdir()
            yield folder
            _sync(folder)
            os.rename(folder, out)
            _sync_folder(out.parent)
        finally:
            shutil.rmtree(work, ignore_errors=True)


def check_room(place: Path, num_bytes: int) -> None:
    """Refuses what the disk has no room for, before it is begun.

    Raises:
      UserError: too little is free.
    """
    free = shutil.disk_usage(place).free
    if free < num_bytes + _SPARE_BYTES:
        raise errors.UserError(
            f"{place.parent}: {num_bytes / 1e9:.1f} GB are needed and {free / 1e9:.1f} GB are free; make room, or "
            "choose another disk"
        )


def write_json(path: Path, value: Mapping[str, Any]) -> None:
    """Writes a JSON file as people read it."""
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", "utf-8")


def _sync(folder: Path) -> None:
    """Waits until the small files of a folder are on the disk; large ones were waited for as they were written."""
    for path in folder.rglob("*"):
        if path.is_dir():
            _sync_folder(path)
        elif path.suffix != ".safetensors":
            _sync_folder(path)
    _sync_folder(folder)


def _sync_folder(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
