"""What every verb that writes a data folder does at its end: check the places, build, tell what came of it."""

import argparse
import os
import pathlib
import sys
from typing import TYPE_CHECKING, Any

from m3it_jax.cli import options

if TYPE_CHECKING:
    from m3it_jax.dataset_building.writing.edition import Outcome
    from m3it_jax.dataset_building.writing.order import Order


def add_arguments(parser: argparse.ArgumentParser, *, decides: str, work: str, jobs: str) -> None:
    """Adds the options of a verb that makes a data folder from files; the words stand in its help."""
    parser.add_argument(
        "--out", type=pathlib.Path, required=True, help="data folder to write; finished sources are kept"
    )
    parser.add_argument("--seed", type=int, default=0, help=f"random seed; decides {decides} (default: 0)")
    parser.add_argument(
        "--max-bad",
        type=options.share,
        metavar="SHARE",
        help=f"share of a split's rows that may be bad before the {work} stops (default: 0.05, and 20 rows "
        "in any case; 0 allows none)",
    )
    parser.add_argument("--jobs", type=options.positive, help=jobs)
    options.add_limit(parser)
    options.add_json(parser)
    options.add_dry_run(parser)


def carry_out(order: "Order", args: argparse.Namespace) -> dict[str, Any]:
    """Builds what is ordered with `args.jobs` workers, writes `args.json`, prints what is there; returns the manifest.

    Raises:
      UserError: a place cannot be written, the folder is in use or holds something else, or too many rows are bad.
    """
    options.check_folder(order.out, option="OUT")
    if args.json:
        options.check_file(args.json, option="--json")
    from m3it_jax.dataset_building.writing import edition

    outcome = edition.carry_out(order, jobs_of(args.jobs))
    if args.json:
        options.write_json(args.json, outcome.manifest)
    options.print_manifest(outcome.manifest, order.out, where=_told(outcome, order))
    _tell_text_only(order)
    _tell_left_out(order)
    return outcome.manifest


def build(order: "Order", jobs: int | None) -> dict[str, Any]:
    """Builds what is ordered with so many workers, one for each core if None, and returns the manifest.

    Raises:
      UserError: the folder is in use or holds something else, or too many rows are bad.
    """
    from m3it_jax.dataset_building.writing import edition

    return edition.build(order, jobs_of(jobs))


def jobs_of(asked: int | None) -> int:
    """Returns the number of workers that was asked for, or one for each core."""
    return asked or os.cpu_count() or 1


def _told(outcome: "Outcome", order: "Order") -> str:
    """Returns what was done, for the screen."""
    others = [name for name in outcome.rebuilt if name not in outcome.same]
    told = [
        f"{', '.join(names)}: {words}"
        for names, words in (
            (others, "what it is imported from has changed, so it was imported again"),
            (outcome.same, "imported again, since a file or picture is newer; its records are as before"),
        )
        if names
    ]
    if not outcome.built and not outcome.rebuilt:
        told.append("nothing has changed, so nothing was built")
    done = "written to" if outcome.built or others else "unchanged:"
    return "; ".join([*told, f"{done} {order.out}; its card is {order.out / 'README.md'}"])


def _tell_text_only(order: "Order") -> None:
    """Prints a line for each source that has records without a picture: how many, and which share."""
    from m3it_jax import records
    from m3it_jax.dataset_building.inspection import statistics

    folder = records.DataFolder.open(order.out)
    for name in sorted(order.names()):
        splits = folder.provenance(name).get("statistics", {}).values()
        if texts := sum(seen.get("text_only", 0) for seen in splits):
            told = statistics.share(texts, sum(seen["records"] for seen in splits))
            print(f"{name}: {told} are text alone, without a picture", file=sys.stderr)


def _tell_left_out(order: "Order") -> None:
    """Prints a line for each source of which rows were left out: how many, and why."""
    from m3it_jax import records

    folder = records.DataFolder.open(order.out)
    for name in sorted(order.names()):
        reasons = folder.provenance(name).get("rejected", {})
        if number := sum(reasons.values()):
            told = ", ".join(
                f"{reason} {count:,}" for reason, count in sorted(reasons.items(), key=lambda each: -each[1])
            )
            where = folder.source_path(name) / "rejected.jsonl"
            rows = "row" if number == 1 else "rows"
            print(f"{name}: {number:,} {rows} skipped ({told}); {where} names each", file=sys.stderr)
