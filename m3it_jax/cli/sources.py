"""`m3it sources`: the 40 sources of M3IT, what to fetch for each, and a built set beside the paper's counts."""

import argparse
import pathlib
import sys

from m3it_jax import errors, file_safety
from m3it_jax.cli import options

EXAMPLE = "m3it sources vqa-v2\n  m3it sources --check data/m3it"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the verb."""
    parser.add_argument("source", nargs="?", metavar="SOURCE", help="show everything known about one source")
    parser.add_argument(
        "--check", type=pathlib.Path, metavar="DATA", help="compare a built set with the paper's counts"
    )
    parser.add_argument(
        "--pages", type=pathlib.Path, metavar="DIR", help="write a Markdown page for each source to DIR"
    )
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Prints the table, one source or the comparison; returns 1 if a count differs from the paper's, else 0.

    Raises:
      UserError: there is no such source or data folder, or a file cannot be written.
    """
    from m3it_jax.dataset_building import sources
    from m3it_jax.dataset_building.sources import pages

    if args.json:
        options.check_file(args.json, option="--json")
    if args.check:
        return _check(args)
    specs = [sources.load(name) for name in ([args.source] if args.source else sources.NAMES)]
    if args.json:
        options.write_json(args.json, [pages.entry(spec) for spec in specs])
    if args.pages:
        options.check_folder(args.pages, option="--pages")
        args.pages.mkdir(parents=True, exist_ok=True)
        for spec in specs:
            file_safety.write_whole(args.pages / f"{spec.name}.md", pages.page(spec))
        file_safety.write_whole(args.pages / "index.md", pages.index())
        print(f"{len(specs)} pages written to {args.pages}", file=sys.stderr)
    elif args.source:
        print(pages.page(specs[0]), end="")
    else:
        print(pages.table(specs))
    return 0


def _check(args: argparse.Namespace) -> int:
    from m3it_jax import records
    from m3it_jax.dataset_building.inspection import statistics
    from m3it_jax.dataset_building.sources import pages

    folder = records.DataFolder.open(args.check)
    found = list(pages.differences(folder))
    if not found:
        raise errors.UserError(f"{args.check}: holds none of the 40 sources; give a folder made by `m3it build`")
    if args.json:
        names = ("source", "split", "records", "paper")
        options.write_json(args.json, [dict(zip(names, row, strict=True)) for row in found])
    rows = [("source", "split", "records", "paper", "difference")]
    rows += [(name, split, str(have), str(want), f"{have - want:+d}") for name, split, have, want in found]
    print(statistics.aligned(rows))
    for line in pages.empty_splits(folder):
        print(line, file=sys.stderr)
    different = sum(have != want for _, _, have, want in found)
    print(f"{different} of {len(found)} splits differ from the paper's Table 7", file=sys.stderr)
    return 1 if different else 0
