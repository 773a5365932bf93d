"""`m3it export`: write a data folder as Parquet for the hub, as JSON lines or as WebDataset tars."""

import argparse
import pathlib
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from m3it_jax.cli import options

EXAMPLE = "m3it export parquet data/m3it --out m3it-parquet --sources coco vqa-v2"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the verb."""
    parser.add_argument("format", choices=("parquet", "jsonl", "webdataset"), help="form of the files")
    parser.add_argument("data", type=pathlib.Path, help="data folder")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the export")
    parser.add_argument("--sources", nargs="+", default=[], metavar="SOURCE", help="sources (default: all)")
    options.add_limit(parser)
    options.add_json(parser)
    options.add_dry_run(parser)


def run(args: argparse.Namespace) -> int:
    """Writes the files, prints what they hold and returns the exit code.

    Raises:
      UserError: the data folder or a source is missing, OUT is in use or holds something else, a package is missing,
        or a record is damaged.
    """
    from m3it_jax import records
    from m3it_jax.dataset_building import export

    order = export.order(
        records.DataFolder.open(args.data), args.out, args.format, sources=args.sources, limit=args.limit
    )
    if args.json:
        options.check_file(args.json, option="--json")
    options.check_folder(args.out, option="--out")
    done = export.finished(order)
    if args.dry_run and not done:
        _print(vars(part) | {"records": part.stop - part.start, "bytes": part.size} for part in export.planned(order))
        print(f"nothing was written to {args.out}", file=sys.stderr)
        return 0
    manifest = done or export.export(order)
    if args.json:
        options.write_json(args.json, manifest)
    _print(manifest["files"])
    print(f"{'stands already in' if done else 'written to'} {args.out}", file=sys.stderr)
    return 0


def _print(files: Iterable[Mapping[str, Any]]) -> None:
    """Prints a line for each split: its records, files and size."""
    splits: dict[tuple[str, str], list[int]] = {}
    for file in files:
        total = splits.setdefault((file["source"], file["split"]), [0, 0, 0])
        for place, number in enumerate((file["records"], 1, file["bytes"])):
            total[place] += number
    for (source, split), (records, count, size) in splits.items():
        print(f"{source}, {split}: {records} records in {count} file{'s' if count > 1 else ''}, {size / 1e6:.1f} MB")
