"""The pairs of a WebDataset tar: picture, `.txt` and `.json` of one name. Nothing is unpacked.

    000000012.jpg, 000000012.txt, 000000012.json         as img2dataset writes them
    photo.v2.0001.jpg, photo.v2.0001.txt                 a name with dots, where it brings picture and text of its own
    0001.jpg, 0001.txt, 0001.seg.png                     WebDataset's further fields of one pair: the picture is told as
                                                         `extra-picture`
    <id>.0.jpg, <id>.1.jpg, <id>.json                    what `m3it export webdataset` writes: whole records

The files of a pair need not stand together; of what has not come together yet only its place in the tar is held. A name
that stands twice gives two pairs if both are whole. Tars that were joined (`cat a.tar b.tar`) are read to their end.
"""

import dataclasses
import functools
import tarfile
from collections.abc import Iterator
from typing import IO

from m3it_jax.dataset_building.interchange import file_forms, image_endings, json_rows, request, splits
from m3it_jax.dataset_building.publishers import raw
from m3it_jax.dataset_building.specification import Rejected

# CHOICE: a caption is a sentence or a page; the longest of LAION are a few kilobytes.
MAX_TEXT_BYTES = 1 << 20

TEXTS = (".txt", ".json")
_READ = frozenset((*image_endings.PICTURES, *image_endings.OTHERS, *TEXTS))
_BLOCK = tarfile.BLOCKSIZE


@dataclasses.dataclass(slots=True)
class Member:
    """A file in the tar; nobody changes it.

    Attributes:
      name: Its name without folders.
      begin: Where its content begins in the tar, in bytes.
      size: Bytes of its content.
      ending: The last part of the name: `.jpg`.
    """

    name: str
    begin: int
    size: int
    ending: str


@dataclasses.dataclass
class Pair:
    """The files that share a name, so far.

    Attributes:
      key: What they share: the folder, and the name before the first dot or before the ending.
      members: The files.
    """

    key: tuple[str, str]
    members: list[Member]

    def pictures(self) -> list[Member]:
        """Returns the pictures, in order."""
        return [each for each in self.members if each.ending in image_endings.PICTURES]

    def text(self, ending: str) -> Member | None:
        """Returns the text with an ending, if there is one."""
        return next((each for each in self.members if each.ending == ending), None)

    def is_whole(self) -> bool:
        """Returns whether a picture and a text are there."""
        return bool(self.pictures()) and any(self.text(ending) for ending in TEXTS)

    def place(self) -> str:
        """Returns what the pair is called in messages."""
        return self.key[1]


class Reader:
    """Puts the members of a tar together, in the order of their names' first whole appearance."""

    def __init__(self, file: request.File, *, given: str):
        """Takes the tar, and the split that the user gave, empty if names decide."""
        self._file = file
        self._given = given
        self._open: dict[tuple[str, str], list[Pair]] = {}  # what is not whole yet, by key
        self._current: list[Pair] = []  # the pairs that share the part before the first dot with the last member

    def read(self) -> Iterator[tuple[IO[bytes], Pair] | Rejected]:
        """Yields (the open tar, pair) for each whole pair, and what is wrong with the others."""
        name = self._file.name
        last, broken = "", ""
        with open(self._file.path, "rb") as tar:
            try:
                file_forms.check(self._file.path)
                for member in _members(tar):
                    if isinstance(member, Rejected):
                        yield dataclasses.replace(member, place=f"{name}:{member.place}")
                        continue
                    last = member[1].name
                    for each in self._added(*member):
                        yield each if isinstance(each, Rejected) else (tar, each)
            except (tarfile.TarError, OSError, EOFError, ValueError) as error:
                broken = f"cannot be read from here on ({str(error)[:200]}); get the tar again"
            for each in self._rest():
                yield each if isinstance(each, Rejected) else (tar, each)
        if broken:
            yield Rejected(f"{name}:{last or 0}", "broken-tar", broken)

    def _added(self, folder: str, member: Member) -> Iterator[Pair | Rejected]:
        """Takes a member and yields what it completes."""
        told = _split_of(folder)
        if not self._given and told and told != {self._file.split}:
            text = f"lies in {folder}/ of a tar that is {self._file.split}; unpack it, or give --split"
            if member.ending in image_endings.PICTURES:
                yield Rejected(f"{self._file.name}:{folder}/{member.name}", "other-split", text)
            return
        short, full = (folder, member.name.partition(".")[0]), (folder, member.name.rpartition(".")[0])
        if self._current and self._current[0].key != short:
            yield from self._closed()
        if not self._current:
            self._current = [Pair(short, [])]
        # Of names with dots, a pair that is whole is done when the next begins, so that no more than one is held.
        if len(self._current) > 1 and self._current[-1].key != full and self._current[-1].is_whole():
            yield self._current.pop()
        pair = next((each for each in self._current if each.key == full), None)
        if pair is None:
            pair = Pair(full, [])
            self._current.append(pair)
        if any(each.name.lower() == member.name.lower() for each in pair.members):
            yield from self._again(pair, short)
            pair = self._current[0] if full == short else Pair(full, [])
            if full != short:
                self._current.append(pair)
        pair.members.append(member)

    def _again(self, pair: Pair, short: tuple[str, str]) -> Iterator[Pair]:
        """Yields a pair whose name begins anew, if it is whole; else it waits for the rest of its files."""
        self._current.remove(pair)
        if pair.is_whole():
            yield pair
        else:
            self._open.setdefault(pair.key, []).append(pair)
        if pair.key == short:
            self._current.insert(0, Pair(short, []))

    def _closed(self) -> Iterator[Pair | Rejected]:
        """Yields the whole pairs of the current name, and puts the others aside."""
        plain, *dotted = self._current
        self._current = []
        whole = [each for each in dotted if each.is_whole()]
        rest = [each for each in dotted if not each.is_whole()]
        numbered = [each for each in rest if each.pictures()]
        # <id>.0.jpg, <id>.1.jpg, <id>.json
        if not plain.pictures() and plain.text(".json") and numbered and all(map(_is_number, numbered)):
            plain.members += [member for each in numbered for member in each.members]
            rest = [each for each in rest if each not in numbered]
        yield from whole
        if plain.is_whole():
            yield plain
            for each in rest:
                for picture in each.pictures():
                    text = f"lies beside {plain.place()}, which is whole without it, and has no text of its own"
                    yield Rejected(f"{self._file.name}:{picture.name}", "extra-picture", text)
            return
        for each in (plain, *rest):
            if each.members:
                self._open.setdefault(each.key, []).append(each)

    def _rest(self) -> Iterator[Pair | Rejected]:
        """Yields what came together over the whole tar, and tells what did not."""
        yield from self._closed() if self._current else ()
        for key, parts in self._open.items():
            members = [each for part in parts for each in part.members]
            pair = Pair(key, members)
            if len({each.name.lower() for each in members}) == len(members):
                yield pair
                continue
            text = f"stands {len(parts)} times and not whole each time, so it is not known what belongs together"
            for each in pair.pictures() or members[:1]:
                yield Rejected(f"{self._file.name}:{each.name}", "duplicate-key", text)
        self._open = {}


def _is_number(pair: Pair) -> bool:
    return pair.key[1].rpartition(".")[2].isdigit()


def content(tar: IO[bytes], member: Member) -> bytes:
    """Returns the content of a member.

    Raises:
      EOFError: the tar ends before it.
    """
    tar.seek(member.begin)
    data = tar.read(member.size)
    if len(data) != member.size:
        raise EOFError("unexpected end of data")
    return data


def limit(member: Member) -> int:
    """Returns how many bytes a member may have."""
    return MAX_TEXT_BYTES if member.ending in TEXTS else raw.MAX_PICTURE_BYTES


def _members(tar: IO[bytes]) -> Iterator[tuple[str, Member] | Rejected]:
    """Yields (folder, member) for each file that may be part of a pair, of all tars that stand one behind another.

    Raises:
      TarError: a header is damaged, or the file ends too early.
    """
    begin = 0
    while True:
        tar.seek(begin)
        with tarfile.open(fileobj=tar, mode="r:") as archive:
            for info in archive:
                archive.members = []  # type: ignore[attr-defined]  # tarfile keeps every member it has passed
                if (found := _member(info)) is not None:
                    yield found
            begin = _next_begin(tar, archive.offset)
        if begin < 0:
            return


def _member(info: tarfile.TarInfo) -> tuple[str, Member] | Rejected | None:
    folder, _, name = info.name.rstrip("/").rpartition("/")
    if info.isdir() or request.is_of_macos(name) or "__MACOSX" in folder:
        return None
    begin, dot, _ = name.partition(".")
    if not info.isfile() or info.issparse() or not dot or not begin:
        return Rejected(json_rows.spelled(info.name[:200]), "not-a-file", "is no ordinary file with an ending")
    ending = "." + name.rpartition(".")[2].lower()
    if ending not in _READ:
        return None
    return json_rows.spelled(folder), Member(json_rows.spelled(name), info.offset_data, info.size, ending)


@functools.lru_cache(maxsize=1024)
def _split_of(folder: str) -> frozenset[str]:
    """Returns the splits that a folder inside of a tar tells."""
    return frozenset(splits.of(folder.split("/")))


def _next_begin(tar: IO[bytes], offset: int) -> int:
    """Returns where another tar begins behind the end of one, or -1 if nothing is left.

    Raises:
      TarError: there is no end, but a damaged header.
    """
    tar.seek(offset)
    block = tar.read(_BLOCK)
    if block.strip(b"\0"):
        raise tarfile.ReadError(f"the header at byte {offset} is damaged")
    while block:
        if block.strip(b"\0"):
            return tar.tell() - len(block)
        block = tar.read(_BLOCK)
    return -1
