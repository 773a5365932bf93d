"""Fetches original files that need no login, checks and unpacks them, and puts them where the sources look for them.

TFDS fetches, and TFDS reads the archives: it passes over names that lead out of an archive and gives a link's content,
never the link. A file that is in its place is never fetched again, so a build needs no network once all are there.
"""

import contextlib
import dataclasses
import errno
import hashlib
import json
import lzma
import os
import pathlib
import shutil
import tarfile
import threading
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, BinaryIO

from m3it_jax import errors, file_safety, progress
from m3it_jax.dataset_building import workers
from m3it_jax.dataset_building.publishers import raw
from m3it_jax.dataset_building.specification import RawFile, SourceSpec

DOWNLOADS = ".downloads"  # inside of the raw folder: what is being fetched, and the checksums
CHECKSUMS = "checksums.json"  # {address: SHA-256 of what the first fetch gave}

# CHOICE: TFDS tries 10 times with doubled waits: three minutes for each address of a host that is gone. 5 take 6 s.
_RETRIES = 5
_SHARE_OF_DISK = 0.95  # CHOICE: of the free bytes, what is unpacked may take this much
_CHUNK = 1 << 20

_DAMAGED = (
    OSError,
    ValueError,
    EOFError,
    RuntimeError,
    zlib.error,
    lzma.LZMAError,
    zipfile.BadZipFile,
    tarfile.TarError,
)


@dataclasses.dataclass(frozen=True)
class Wanted:
    """One address, and the raw files that come from it.

    Attributes:
      url: The address.
      sha256: The publisher's checksum of the download, empty if there is none.
      files: For each raw file its path, as `RawFile` has it, and the place where it is to lie.
      downloads: Folder for the download and the recorded checksums.
    """

    url: str
    sha256: str
    files: tuple[tuple[str, pathlib.Path], ...]
    downloads: pathlib.Path


def plan(
    specs: Iterable[SourceSpec], raw_folder: pathlib.Path, *, load: Callable[[str], SourceSpec]
) -> tuple[list[Wanted], list[str]]:
    """Returns what is to be fetched, each address once, and a line for each source whose files a person has to get.

    `load` gives the source of a name: one borrows files that another has.

    Raises:
      UserError: a raw file is a link that leads out of its folder.
    """
    folders = {path.name: path for path in raw_folder.glob("*") if path.is_dir()}
    wanted: dict[str, dict[pathlib.Path, RawFile]] = {}
    by_hand = []
    for spec in specs:
        absent = raw.absent(spec, folders)
        for file in absent:
            if file.url:
                wanted.setdefault(file.url, {})[raw_folder / _home(spec, file, load) / file.path] = file
        paths = [file.path for file in absent if not (file.url or file.optional)]
        if paths:
            where = f"get them from {spec.url} and put them in {raw_folder / spec.name}/"
            by_hand.append(f"{spec.name}: {', '.join(paths)}: no address gives them without a person; {where}")
    return [
        Wanted(
            url,
            next((file.sha256 for file in files.values() if file.sha256), ""),
            tuple((file.path, place) for place, file in files.items()),
            raw_folder / DOWNLOADS,
        )
        for url, files in wanted.items()
    ], by_hand


def _home(spec: SourceSpec, file: RawFile, load: Callable[[str], SourceSpec]) -> str:
    """Returns the source in whose folder a file is put: one that is borrowed from if it has the very same file."""
    for name in spec.published.borrows if spec.published else ():
        lender = load(name).published
        if lender and (file.path, file.url) in [(other.path, other.url) for other in lender.raw]:
            return name
    return spec.name


def fetch(wanted: Sequence[Wanted], raw_folder: pathlib.Path) -> list[str]:
    """Fetches and places all that is wanted; returns a line for each address that gave nothing usable.

    Raises:
      UserError: another process downloads into the folder, or the recorded checksums cannot be read.
      OSError: the disk is full.
    """
    if not wanted:
        return []
    with file_safety.held(raw_folder / DOWNLOADS, doing="downloading", instead="raw folder"):
        # A process of its own: TFDS' threads cannot be stopped, and Ctrl-C would wait for the end of the download.
        with workers.Workers(1) as pool, progress.Progress(None, "MiB fetched") as shown:
            return [line for line in pool.run(_obtain_and_count, list(wanted), shown) if line]


def _obtain_and_count(wanted: Wanted) -> str:
    done = threading.Event()

    def watch() -> None:
        counted = 0
        while not done.wait(0.5):
            with contextlib.suppress(OSError):  # it was moved while we looked
                size = sum(path.stat().st_size for path in _scratch(wanted).glob("*.tmp.*/*")) >> 20
                workers.count(max(size - counted, 0))
                counted = max(size, counted)

    watcher = threading.Thread(target=watch, daemon=True)
    watcher.start()
    try:
        return obtain(wanted)
    finally:
        done.set()
        watcher.join()


def obtain(wanted: Wanted) -> str:
    """Fetches one address and places its files, each in one step; returns what went wrong in one line, or nothing.

    Raises:
      UserError: the recorded checksums cannot be read.
      OSError: the disk is full; the download is kept for the next time.
    """
    recorded = _recorded(wanted.downloads / CHECKSUMS)
    try:
        path = _download(wanted)
        found = file_safety.sha256(path)
        expected = wanted.sha256 or recorded.get(wanted.url, found)
        if found != expected:
            known = "the publisher's is" if wanted.sha256 else f"by {wanted.downloads / CHECKSUMS} it was"
            raise ValueError(f"its SHA-256 is {found}, {known} {expected}")
        for name, place in wanted.files:
            _place(path, name, place=place, shipped_as=wanted.url)
    except _DAMAGED as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        shutil.rmtree(_scratch(wanted), ignore_errors=True)
        places = ", ".join(str(place) for _, place in wanted.files)
        why = " ".join(str(error).split())[:400]
        return f"{wanted.url}: could not be used ({why}); run again, or get it yourself and put it at {places}"
    shutil.rmtree(_scratch(wanted))
    text = json.dumps({**recorded, wanted.url: found}, indent=2, sort_keys=True)
    file_safety.write_whole(wanted.downloads / CHECKSUMS, text + "\n")
    return ""


def _recorded(path: pathlib.Path) -> dict[str, str]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("no JSON object")
        return found
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise errors.UserError(f"{path}: cannot be read ({error}); mend it, or delete it to record anew") from error


def _scratch(wanted: Wanted) -> pathlib.Path:
    return wanted.downloads / hashlib.sha256(wanted.url.encode()).hexdigest()[:16]


def _download(wanted: Wanted) -> pathlib.Path:
    """Returns the file that the address gives; what an earlier run had fetched to the end is taken.

    Raises:
      ValueError: it is no web address, the answer is an error or a page to look at, or TFDS knows another checksum.
      OSError: the host cannot be reached, the transfer was cut, or the disk is full.
    """
    import tensorflow_datasets as tfds  # takes seconds, and only who downloads needs it
    from tensorflow_datasets.core.download import downloader

    if not wanted.url.startswith(("http://", "https://")):  # TFDS would copy a local file
        raise ValueError("only http and https addresses are fetched")
    scratch = _scratch(wanted)
    for cut in scratch.glob("*.tmp.*"):  # of a run that was killed
        shutil.rmtree(cut)
    tfds.disable_progress_bar()
    downloader.MAX_RETRIES = _RETRIES
    try:
        path = pathlib.Path(tfds.download.DownloadManager(download_dir=scratch).download(wanted.url))
    except (tfds.download.DownloadError, tfds.download.download_manager.NonMatchingChecksumError) as error:
        raise ValueError(str(error)) from error
    with open(path, "rb") as file:
        if file.read(512).lstrip().lower().startswith((b"<!doctype html", b"<html")):
            raise ValueError("the answer is a page to look at; perhaps a login is asked for")
    return path


def _entries(file: BinaryIO, path: pathlib.Path, *, whole: bool) -> Iterator[tuple[str, Any]]:
    """Yields (name, open file) of what is in an archive; what is no archive, or wanted `whole`, has the name ''."""
    import tensorflow_datasets as tfds

    methods = tfds.download.ExtractMethod
    method = tfds.download.Resource(path=path).extract_method  # by the name that the server gave
    if method is methods.GZIP and tarfile.is_tarfile(path):  # some publishers leave `.tar` out
        method = methods.TAR
    if whole or method is methods.NO_EXTRACT:
        yield "", file
    else:
        yield from tfds.download.iter_archive(file, method)


def choose(names: Sequence[str], wanted: str) -> dict[str, str]:
    """Returns which entries of an archive make up a raw file, and where in it each lies ('' for a file itself).

    Publishers put folders of their own around what they pack, or leave ours out: the entry that shares the longest end
    with the wanted path is taken, of several the least deep. A file may have any name if it is alone; so may the folder
    around files that stand at the top.
    """
    parts = wanted.rstrip("/").split("/")
    for begin in range(len(parts)):
        tail = "/" + "/".join(parts[begin:])
        if wanted.endswith("/"):
            before = [f"/{name}".split(f"{tail}/", 1)[0] + tail + "/" for name in names if f"{tail}/" in f"/{name}"]
            if before:
                root = min(before, key=len)
                return {name: f"/{name}".removeprefix(root) for name in names if f"/{name}".startswith(root)}
        elif found := [name for name in names if f"/{name}".endswith(tail)]:
            return {min(found, key=len): ""}
    if wanted.endswith("/"):
        return {name: name for name in names} if all(name and "/" not in name for name in names) else {}
    return {names[0]: ""} if len(names) == 1 else {}


def _place(path: pathlib.Path, name: str, *, place: pathlib.Path, shipped_as: str) -> None:
    """Unpacks what a raw file is made of beside its place, and moves it there in one step."""
    whole = not name.endswith("/") and shipped_as.endswith(f"/{name}")
    with open(path, "rb") as file:
        chosen = choose([entry for entry, _ in _entries(file, path, whole=whole)], name)
    if not chosen:
        raise ValueError(f"holds no {name}")
    place.parent.mkdir(parents=True, exist_ok=True)
    partial = place.with_name(f".{place.name}.partial")
    _remove(partial)
    left = int(shutil.disk_usage(place.parent).free * _SHARE_OF_DISK)
    try:
        with open(path, "rb") as file:
            for entry, content in _entries(file, path, whole=whole):
                if entry in chosen:
                    target = partial / chosen[entry]
                    target.parent.mkdir(parents=True, exist_ok=True)
                    left = _copy(content, target, left)
        os.replace(partial, place)
    finally:
        _remove(partial)


def _copy(content: BinaryIO, target: pathlib.Path, left: int) -> int:
    """Copies a file and returns how many of the bytes `left` are left after it."""
    with open(target, "wb") as out:
        while chunk := content.read(_CHUNK):
            left -= len(chunk)
            if left < 0:  # told like a disk that is full: it would be, and a hostile archive has no end
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target.parent))
            out.write(chunk)
    return left


def _remove(path: pathlib.Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
