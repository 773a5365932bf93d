"""`m3it check`: verify every shard and every record of a data folder."""

import argparse
import pathlib
import sys

from m3it_jax import errors
from m3it_jax.cli import options

EXAMPLE = "m3it check data/m3it-mini --json check.json"

_SHOWN = 50  # problems printed; all of them go into --json


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the verb."""
    parser.add_argument("data", type=pathlib.Path, help="data folder")
    options.add_limit(parser)
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Prints every problem and returns 0 if there is none, else 1."""
    from m3it_jax import progress, records
    from m3it_jax.dataset_building.inspection import verification

    if not args.data.is_dir():
        raise errors.UserError(f"{args.data}: is no folder; give a data folder")
    if args.json:
        options.check_file(args.json, option="--json")
    counts = _counts(records, args)
    total, checked = (None if counts is None else sum(counts)), 0
    ahead = None if counts is None else sum(min(number, args.limit or number) for number in counts)

    def count() -> None:
        nonlocal checked
        checked += 1
        shown.update()

    with progress.Progress(ahead, "records") as shown:
        problems = verification.check_folder(args.data, limit=args.limit, on_record=count)
    if args.json:
        covered = {"checked": checked, "records": total} if args.limit else {}
        options.write_json(args.json, {"ok": not problems, "problems": problems} | covered)
    for problem in problems[:_SHOWN]:
        place = "".join(f" {name} {problem[name]}" for name in ("record", "offset") if problem[name] is not None)
        print(f"{problem['file']}{place}: {problem['reason']}")
    if len(problems) > _SHOWN:
        print(f"... and {len(problems) - _SHOWN} more; --json FILE lists them all")
    part = f"; {checked:,} of {total:,} records were read" if args.limit and total is not None else ""
    if problems:
        number = "1 problem" if len(problems) == 1 else f"{len(problems)} problems"
        print(f"{args.data}: {number}{part}; build the sources named above again", file=sys.stderr)
        return 1
    print(f"{args.data}: {'no problem found' if part else 'sound'}{part}")
    return 0


def _counts(records, args: argparse.Namespace) -> list[int] | None:
    """Returns the records of each split of each source, None if the folder cannot say."""
    try:
        sources = records.DataFolder.open(args.data).sources.values()
    except errors.UserError:
        return None
    return [number for source in sources for number in source.splits.values()]
