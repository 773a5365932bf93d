"""Options that several verbs share, so that they read and behave the same everywhere."""

import argparse
import json
import math
import os
import pathlib
import sys
import tempfile
from collections.abc import Callable, Mapping
from typing import Any

from m3it_jax import errors, file_safety


def add_json(parser: argparse.ArgumentParser) -> None:
    """Adds `--json FILE`, for results that other programs read."""
    parser.add_argument(
        "--json", metavar="FILE", type=pathlib.Path, help="write the result as JSON to FILE; - is stdout"
    )


def add_dry_run(parser: argparse.ArgumentParser) -> None:
    """Adds `--dry-run`, for verbs that write."""
    parser.add_argument("--dry-run", action="store_true", help="show what would be done, without writing anything")


def add_limit(parser: argparse.ArgumentParser) -> None:
    """Adds `--limit N`, for verbs that go over records."""
    parser.add_argument("--limit", metavar="N", type=positive, help="stop after N records of each source and split")


def add_decoder_weights(parser: argparse.ArgumentParser) -> None:
    """Adds `--decoder-weights int8`, for verbs that answer."""
    parser.add_argument(
        "--decoder-weights",
        choices=("int8",),
        help="store the language model's weights as int8: a quarter of the memory, slightly lower quality",
    )


def positive(text: str) -> int:
    """Returns a whole number above 0, for `type=` of an option.

    Raises:
      ArgumentTypeError: `text` is something else; argparse turns it into a usage message.
    """
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value <= 0:
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number above 0")
    return value


def count(text: str) -> int:
    """Returns a whole number, 0 or more, for `type=` of an option.

    Raises:
      ArgumentTypeError: `text` is something else; argparse turns it into a usage message.
    """
    if not text.isascii() or not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} must be a whole number, 0 or more")
    return int(text)


def share(text: str) -> float:
    """Returns a number from 0 to 1, for `type=` of an option.

    Raises:
      ArgumentTypeError: `text` is something else; argparse turns it into a usage message.
    """
    return _number(text, lambda value: 0 <= value <= 1, allowed="a number from 0 to 1")


def amount(text: str) -> float:
    """Returns a finite number above 0, for `type=` of an option.

    Raises:
      ArgumentTypeError: `text` is something else; argparse turns it into a usage message.
    """
    return _number(text, lambda value: 0 < value < math.inf, allowed="a number above 0")


def _number(text: str, is_allowed: Callable[[float], bool], *, allowed: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan  # which no range holds
    if not is_allowed(value):
        raise argparse.ArgumentTypeError(f"{text!r} must be {allowed}")
    return value


def check_checkpoint(path: str | os.PathLike[str]) -> None:
    """Refuses a checkpoint that is not there at all, before the seconds that the import of JAX takes.

    Raises:
      UserError: the folder does not exist.
    """
    if not pathlib.Path(path).is_dir():
        raise errors.UserError(f"{path}: no checkpoint here; give a run folder, a quick-start folder or a checkpoint")


def asked_in_training(checkpoint: str | os.PathLike[str]) -> list[dict[str, Any]]:
    """Returns the rows of asked.json beside a checkpoint: what the model was asked in training, if it is told."""
    from m3it_jax import checkpointing

    try:
        rows = json.loads((checkpointing.locate(pathlib.Path(checkpoint)).run / "asked.json").read_text("utf-8"))
    except (OSError, ValueError):
        return []
    wanted = {"source": str, "task": str, "num_images": int, "instruction": str, "inputs": str}
    sound = isinstance(rows, list) and all(
        isinstance(row, dict) and all(isinstance(row.get(name), kind) for name, kind in wanted.items()) for row in rows
    )
    if not sound:
        return []
    for row in rows:
        row["num_turns"] = row["num_turns"] if isinstance(row.get("num_turns"), int) else 1  # older files have none
    return list(rows)


def check_file(path: str | os.PathLike[str], *, option: str) -> None:
    """Finds out, before the work, whether the file given with `option` can be written later.

    Raises:
      UserError: it is a folder, or its folder does not exist or cannot be written.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        raise errors.UserError(f"{option} {path}: is a folder; name a file")
    if file_safety.is_stream(path):  # opening a named pipe would wait for its reader
        return
    if not path.parent.is_dir():
        raise errors.UserError(f"{option} {path}: folder {path.parent} does not exist; make it first")
    _check_takes_files(path.parent, f"{option} {path}")


def check_folder(path: str | os.PathLike[str], *, option: str) -> None:
    """Finds out, before the work, whether the folder given with `option` can be made and written later.

    Raises:
      UserError: it or a folder above it is a file, or cannot be written.
    """
    path = pathlib.Path(path)
    place = next(each for each in (path, *path.absolute().parents) if os.path.lexists(each))
    if not place.is_dir():
        raise errors.UserError(f"{option} {path}: {place} is no folder; choose another place")
    _check_takes_files(place, f"{option} {path}")


def _check_takes_files(folder: pathlib.Path, what: str) -> None:
    # Permissions alone do not tell: root may do anything, and the file system may still be read-only.
    try:
        tempfile.TemporaryFile(dir=folder).close()
    except OSError as error:
        raise errors.UserError(
            f"{what}: {folder} cannot be written ({error.strerror}); choose another place"
        ) from error


def print_manifest(manifest: Mapping[str, Any], out: pathlib.Path, *, where: str = "") -> None:
    """Prints what a data folder holds, one line a source, and `where`, by default where its card lies."""
    for name, source in manifest["sources"].items():
        counts = ", ".join(f"{split} {number}" for split, number in source["splits"].items())
        print(f"{name} ({source['task']}, {source['language']}): {counts}")
    print(where or f"written to {out}; its card is {out / 'README.md'}", file=sys.stderr)


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes `value` to the path given with `--json`, as `write_text` does.

    Raises:
      UserError: the folder does not exist.
    """
    text = json.dumps(value, ensure_ascii=False, indent=2) + "\n"
    # The name of a file may hold bytes that are no UTF-8; JSON spells them \udcXX, as Python does.
    write_text(path, text.encode("utf-8", "backslashreplace").decode("utf-8"), option="--json")


def write_text(path: str | os.PathLike[str], text: str, *, option: str) -> None:
    """Writes `text` to the path given with `option`, in one piece: a reader sees the whole new file or the old one.

    Raises:
      UserError: it is a folder, or its folder does not exist or cannot be written.
    """
    path = pathlib.Path(path)
    check_file(path, option=option)
    file_safety.write_whole(path, text)
