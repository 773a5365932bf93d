"""`m3it import`: import other people's data into a data folder."""

import argparse
import pathlib
import sys
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from m3it_jax import schema
from m3it_jax.cli import building, options

if TYPE_CHECKING:
    from m3it_jax.dataset_building.specification import SourceSpec

EXAMPLE = """m3it import m3it downloads/M3IT/data --out data/m3it
  m3it import llava llava_instruct_150k.json --images coco/train2017 --out data/llava"""

# Kept here beside the table in `interchange`, which takes Pillow and numpy to import; a test holds them together.
FORMATS = ("m3it", "m3it-80", "llava", "messages", "minigpt4", "multiinstruct", "image-text", "parquet")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the verb."""
    parser.add_argument("format", choices=FORMATS, metavar="FORMAT", help=f"one of {', '.join(FORMATS)}")
    parser.add_argument("paths", nargs="+", type=pathlib.Path, metavar="PATH", help="files or folders of that format")
    parser.add_argument("--source", default="", metavar="NAME", help="name of the source, if the files do not say it")
    parser.add_argument(
        "--split",
        choices=schema.SPLITS,
        default="",
        help="split of all files (default: by the names of folders and files, else train)",
    )
    for split in ("test", "validation"):
        parser.add_argument(
            f"--{split}-share",
            type=options.share,
            default=0.0,
            metavar="SHARE",
            help=f"share of the training pictures (0 to 1) that becomes the split {split}, with every row about them",
        )
    parser.add_argument(
        "--task", choices=schema.TASKS, default="", help="task of the source (default: depends on the format)"
    )
    parser.add_argument(
        "--language", default="", metavar="TAG", help="language of the texts (default: en, or the source's)"
    )
    parser.add_argument(
        "--images", type=pathlib.Path, metavar="FOLDER", help="folder that holds the pictures named in the rows"
    )
    parser.add_argument(
        "--licence", default="", metavar="TEXT", help="terms of the rows (default: the source's, or unknown)"
    )
    building.add_arguments(
        parser,
        decides="instructions and drawn options",
        work="import",
        jobs="worker processes, one source each (default: all cores)",
    )


def run(args: argparse.Namespace) -> int:
    """Imports the files, prints what came of them and returns the exit code.

    Raises:
      UserError: a path is missing or is not of the format, the folder is in use or holds something else, or too many
        rows are bad.
    """
    from m3it_jax.dataset_building import interchange

    given = ("source", "split", "task", "language", "images", "licence")
    asked = interchange.Request(tuple(args.paths), **{name: getattr(args, name) for name in given})
    order = interchange.order(
        args.format,
        asked,
        args.out,
        seed=args.seed,
        limit=args.limit,
        max_bad=args.max_bad,
        shares={"test": args.test_share, "validation": args.validation_share},
    )
    for spec in order.specs:
        if spec.known_problems:
            print(f"m3it: {spec.name}: {spec.known_problems}", file=sys.stderr)
    left = interchange.unread(asked, order.specs)
    if left:
        names = ", ".join(left[:3]) + (f" and {len(left) - 3} more" if len(left) > 3 else "")
        print(f"m3it: not read, since format {args.format} has other files: {names}", file=sys.stderr)
    if args.dry_run:
        for spec in order.specs:
            for name, size, split in spec.settings["imported"]["files"]:
                print(f"{spec.name} ({spec.task}, {spec.language}): {split} from {name}, {size:,} bytes")
            for split, share in spec.settings.get("shares", {}).items():
                print(f"{spec.name} ({spec.task}, {spec.language}): {split} from {share:.3g} of the training pictures")
        print(f"nothing was written to {args.out}", file=sys.stderr)
        return 0
    options.check_folder(args.out, option="OUT")
    for line in splits_told(order.specs):
        print(f"m3it: {line}", file=sys.stderr)
    building.carry_out(order, args)
    return 0


def splits_told(specs: "Sequence[SourceSpec]") -> Iterator[str]:
    """Yields a line for each source: which split comes from which files, before anything is read."""
    for spec in specs:
        told = []
        for split in schema.SPLITS:
            names = [name for name, _, of in spec.settings["imported"]["files"] if of == split]
            if names:
                more = f" and {len(names) - 2} more files" if len(names) > 3 else ""
                told.append(f"{split} from {', '.join(names[: 2 if more else 3])}{more}")
            if share := spec.settings.get("shares", {}).get(split):
                told.append(f"{split} from {share:.3g} of the training pictures")
        yield f"{spec.name}: {'; '.join(told)}"
