"""`m3it browse`: write pages that show a data folder."""

import argparse
import pathlib
import sys

from m3it_jax.cli import options

EXAMPLE = "m3it browse data/m3it-mini --out pages --limit 200"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the verb."""
    parser.add_argument("data", type=pathlib.Path, help="data folder")
    parser.add_argument("--out", type=pathlib.Path, metavar="DIR", required=True, help="folder of the pages")
    parser.add_argument("--sources", nargs="+", default=[], metavar="SOURCE", help="sources (default: all)")
    parser.add_argument(
        "--limit",
        metavar="N",
        type=options.positive,
        default=100,
        help="records to show per source, spread over its splits (default: 100)",
    )
    parser.add_argument(
        "--tokenizer",
        metavar="FILE",
        type=pathlib.Path,
        help="SentencePiece model that splits the texts into tokens (default: the data folder's own)",
    )
    options.add_dry_run(parser)


def run(args: argparse.Namespace) -> int:
    """Writes the pages, prints where they are and returns the exit code.

    Raises:
      UserError: the data folder, a source or the tokenizer is missing, DIR is in use or holds something else, or a
        record is damaged.
    """
    from m3it_jax import records
    from m3it_jax.analysis import browser

    order = browser.order(
        records.DataFolder.open(args.data),
        args.out,
        sources=args.sources,
        limit=args.limit,
        tokenizer_path=args.tokenizer,
    )
    options.check_folder(args.out, option="--out")
    browser.check_folder(args.out)
    if order.tokenizer is None:
        print("the data folder has no tokenizer, so no tokens are shown; --tokenizer FILE adds them", file=sys.stderr)
    if args.dry_run:
        for (source, split), number in order.shown().items():
            print(f"{source}, {split}: {number} records")
        print(f"nothing was written to {args.out}", file=sys.stderr)
        return 0
    told = browser.write(order)
    print(f"{told['records']} records and {told['pictures']} pictures; open {args.out / browser.PAGE}", file=sys.stderr)
    return 0
