"""Hashes of a checkpoint's files: written once all of them are on the disk, compared before a number is believed.

Orbax finds a file that is missing or cut off; a flipped bit it restores as another number. `hashes.json` is the last
file of a step, so a step without it was cut off while it was saved. It holds

    {"files": {"params/manifest.ocdbt": SHA-256 in hex, ...}, "sha256": of these lines}
"""

import hashlib
import json
import os
from concurrent import futures
from pathlib import Path

from m3it_jax import file_safety

FILE = "hashes.json"
_WORKERS = 4  # hashlib lets other threads run; more than a disk can feed are of no use


def write(folder: Path) -> None:
    """Brings the files of a folder to the disk and writes their hashes beside them.

    Raises:
      OSError: the disk is full or fails.
    """
    paths = _paths(folder)
    with futures.ThreadPoolExecutor(_WORKERS) as pool:
        hashes = list(pool.map(_synced, paths))
    for place in {folder, *(path.parent for path in paths)}:
        _sync(place)
    files = {str(path.relative_to(folder)): digest for path, digest in zip(paths, hashes, strict=True)}
    text = json.dumps({"files": files, "sha256": _digest(files)}, indent=1)
    file_safety.write_whole(folder / FILE, text + "\n")
    _sync(folder / FILE)
    _sync(folder)


def problem(folder: Path, below: str = "") -> str:
    """Returns what is wrong with the files of a folder, the first of them by name; nothing where all hold.

    Args:
      folder: One that `write` has seen.
      below: Only files in this folder of it are read; empty for all.
    """
    try:
        told = json.loads((folder / FILE).read_text("utf-8"))
        files: dict[str, str] = told["files"]
        if told["sha256"] != _digest(files):
            return f"{FILE} is damaged"
    except FileNotFoundError:
        return f"{FILE} is missing, so the save was cut off"
    except (OSError, ValueError, KeyError, TypeError) as error:
        return f"{FILE} is damaged ({error!r:.80})"
    wanted = {folder / name: digest for name, digest in files.items() if name.startswith(below)}
    with futures.ThreadPoolExecutor(_WORKERS) as pool:
        for path, found in zip(wanted, pool.map(_hashed, wanted), strict=True):
            if found is None:
                return f"{path.relative_to(folder)} is missing"
            if found != wanted[path]:
                return f"{path.relative_to(folder)} is damaged (its SHA-256 is not the one in {FILE})"
    return ""


def _paths(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*") if path.is_file() and path != folder / FILE)


def _digest(files: dict[str, str]) -> str:
    return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()


def _synced(path: Path) -> str:
    _sync(path)
    return file_safety.sha256(path)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _hashed(path: Path) -> str | None:
    try:
        return file_safety.sha256(path)
    except OSError:
        return None
