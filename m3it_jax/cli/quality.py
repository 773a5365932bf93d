"""`m3it quality`: report the faults of a data folder, set them aside, take reviewed records back."""

import argparse
import pathlib
import sys

from m3it_jax.cli import building, options

EXAMPLE = """m3it quality data/m3it --json quality.json
  m3it quality data/m3it --out data/m3it-clean --admit reviewed.jsonl"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the verb."""
    parser.add_argument("data", type=pathlib.Path, help="data folder")
    parser.add_argument("--out", type=pathlib.Path, help="write a copy without the faulty records to this folder")
    parser.add_argument(
        "--admit",
        type=pathlib.Path,
        metavar="FILE",
        help='with --out: restore these records from quarantine; lines of {"id": ..., "outputs": another answer}',
    )
    parser.add_argument("--jobs", type=options.positive, help="worker processes (default: one for each core)")
    options.add_json(parser)
    options.add_dry_run(parser)


def run(args: argparse.Namespace) -> int:
    """Prints the report, or writes the copy; returns 1 if the report has a fault, else 0.

    Raises:
      UserError: the data folder or the review cannot be read, or OUT cannot be written.
    """
    from m3it_jax import errors, progress, records
    from m3it_jax.dataset_building.rewriting import review

    folder = records.DataFolder.open(args.data)
    if args.json:
        options.check_file(args.json, option="--json")
    if args.admit and not args.out:
        raise errors.ConfigError("--admit: needs --out, the folder of the copy")
    if args.out:
        order = review.order(folder, args.out, review.read_review(args.admit) if args.admit else {})
        if args.dry_run:
            print(f"{len(order.specs)} sources would be copied; nothing was written to {args.out}", file=sys.stderr)
            return 0
        building.carry_out(order, args)
        return 0
    total = sum(sum(source.splits.values()) for source in folder.sources.values())
    with progress.Progress(total, "records") as shown:
        told = review.report(folder, shown.update)
    if args.json:
        options.write_json(args.json, told)
    for name, source in told["sources"].items():
        for split, counts in source["faults"].items():
            print(f"{name}, {split}: " + ", ".join(f"{reason} {number}" for reason, number in counts.items()))
        if source["left_out"]:
            counts = ", ".join(f"{reason} {number}" for reason, number in source["left_out"].items())
            print(f"{name}: left out when built: {counts}; {len(source['quarantine'])} of them in quarantine")
    for overlap in told["overlaps"]:
        print(f"{overlap['pictures']} train pictures of {overlap['train']} are held out in {overlap['held_out']}")
    splits = [counts for source in told["sources"].values() for counts in source["faults"].values()]
    faults = sum(sum(counts.values()) for counts in splits)
    print(f"{args.data}: {faults} faults in {total} records", file=sys.stderr)
    return 1 if faults else 0
