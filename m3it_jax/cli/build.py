"""`m3it build`: build sources of M3IT from their publishers' own files."""

import argparse
import importlib.util
import pathlib
import sys

from m3it_jax import errors, licences
from m3it_jax.cli import building

EXAMPLE = """m3it build coco vqa-v2 --raw raw --out data/m3it
  m3it build flickr8k-cn science-qa --raw raw --out data/m3it --download
  m3it build --raw raw --out data/m3it --runner beam -- --direct_num_workers=4 --direct_running_mode=multi_processing"""


TAKES_OVERRIDES = True  # what stands behind `--` is for Beam


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the verb."""
    parser.add_argument("sources", nargs="*", metavar="SOURCE", help="sources to build (default: all 40)")
    parser.add_argument(
        "--raw", type=pathlib.Path, required=True, help="folder with the original files, in RAW/<source>/"
    )
    parser.add_argument(
        "--download",
        action="store_true",
        help="first download files that RAW lacks and that need no login (may be large)",
    )
    parser.add_argument(
        "--frames",
        choices=("uniform", "random"),
        default="uniform",
        help="how to choose the 8 frames of a video: from the middle of equal parts, or at random (default: uniform)",
    )
    parser.add_argument(
        "--allow",
        nargs="+",
        type=_terms,
        action="extend",
        default=[],
        metavar="TERMS",
        help="skip rows whose licence does not allow this use: commercial, research or unknown, joined by commas as in "
        "data.allow; research includes commercial; unknown must be named",
    )
    parser.add_argument(
        "--runner",
        choices=("direct", "beam"),
        default="direct",
        help="direct: processes on this machine; beam: an Apache Beam pipeline with an equal result (default: direct)",
    )
    building.add_arguments(
        parser,
        decides="samples, options and instructions",
        work="build",
        jobs="worker processes (default: one for each core)",
    )


def _terms(text: str) -> list[str]:
    """Returns the words of `--allow`, joined by commas, for `type=` of the option."""
    words = [word for word in text.split(",") if word]
    for word in words:
        if word not in licences.TERMS:
            raise argparse.ArgumentTypeError(f"{word!r} must be one of {', '.join(licences.TERMS)}")
    return words


def run(args: argparse.Namespace) -> int:
    """Builds the sources, prints what they hold and returns the exit code.

    Raises:
      UserError: a source or a raw file is missing, the folder is in use or holds something else, or too many rows of a
        source are bad.
    """
    from m3it_jax import records
    from m3it_jax.dataset_building import sources
    from m3it_jax.dataset_building.sources import pages

    beam_options = tuple(word for word in args.overrides if word != "--")
    if beam_options and args.runner != "beam":
        raise errors.ConfigError(f"m3it build does not take {beam_options[0]!r} without --runner beam")
    if args.runner == "beam" and importlib.util.find_spec("apache_beam") is None:
        raise errors.UserError(
            "--runner beam: package apache-beam is needed: pip install -e '.[beam]' in the repository"
        )
    for line in sources.loss(args.sources, _allowed(args)):
        print(line, file=sys.stderr)
    if args.download and not _download(args):
        return 0
    order = sources.order(
        args.out,
        args.raw,
        args.sources,
        seed=args.seed,
        limit=args.limit,
        frames=args.frames,
        allow=_allowed(args),
        max_bad=args.max_bad,
        beam_options=beam_options if args.runner == "beam" else None,
    )
    for spec in order.specs:
        for split, paths in sources.skipped(spec, order.folders).items():
            print(f"{spec.name}: {split} is not built: lacks {', '.join(paths)}", file=sys.stderr)
    if args.dry_run:
        for spec in order.specs:
            print(f"{spec.name}: about {order.rows(spec)} records ({spec.task}, {spec.language})")
        print(f"nothing was written to {args.out}", file=sys.stderr)
        return 0
    building.carry_out(order, args)
    for line in pages.empty_splits(records.DataFolder.open(args.out)):
        print(line, file=sys.stderr)
    return 0


def _allowed(args: argparse.Namespace) -> tuple[str, ...]:
    return tuple(word for words in args.allow for word in words)


def _download(args: argparse.Namespace) -> bool:
    """Fetches what is missing and tells what could not be; returns whether to go on and build."""
    from m3it_jax.dataset_building import sources
    from m3it_jax.dataset_building.publishers import download

    wanted, by_hand = download.plan(sources.chosen(args.sources, _allowed(args)), args.raw, load=sources.load)
    for line in by_hand:
        print(line, file=sys.stderr)
    for each in wanted:
        places = ", ".join(str(place) for _, place in each.files)
        print(f"{'would fetch' if args.dry_run else 'fetching'} {each.url} for {places}", file=sys.stderr)
    if args.dry_run and wanted:
        print(f"nothing was fetched, nothing was written to {args.out}", file=sys.stderr)
        return False
    for line in download.fetch(wanted, args.raw):
        print(line, file=sys.stderr)
    return True
