"""Options that several verbs share, so that they read and behave the same everywhere."""

import argparse
import json
import os
import pathlib
from typing import Any

from m3it_jax import errors


def add_json(parser: argparse.ArgumentParser) -> None:
    """Adds `--json FILE`, for results that other programs read."""
    parser.add_argument("--json", metavar="FILE", type=pathlib.Path, help="write the result as JSON to FILE")


def add_dry_run(parser: argparse.ArgumentParser) -> None:
    """Adds `--dry-run`, for verbs that write."""
    parser.add_argument("--dry-run", action="store_true", help="say what would be done and write nothing")


def add_limit(parser: argparse.ArgumentParser) -> None:
    """Adds `--limit N`, for verbs that go over records."""
    parser.add_argument("--limit", metavar="N", type=positive, help="stop after N records of each kind")


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


def write_json(path: str | os.PathLike[str], value: Any) -> None:
    """Writes `value` to the path given with `--json`, as `write_text` does.

    Raises:
      UserError: the folder does not exist.
    """
    write_text(path, json.dumps(value, ensure_ascii=False, indent=2) + "\n", option="--json")


def write_text(path: str | os.PathLike[str], text: str, *, option: str) -> None:
    """Writes `text` to the path given with `option`, in one piece: a reader sees the whole new file or the old one.

    Raises:
      UserError: the folder does not exist.
    """
    path = pathlib.Path(path)
    if not path.parent.is_dir():
        raise errors.UserError(f"{option} {path}: folder {path.parent} does not exist; make it first")
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    partial.write_text(text, encoding="utf-8")
    partial.replace(path)
