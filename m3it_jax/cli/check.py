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
    with progress.Progress(_total(records, args), "records") as shown:
        problems = verification.check_folder(args.data, limit=args.limit, on_record=shown.update)
    if args.json:
        options.write_json(args.json, {"ok": not problems, "problems": problems})
    for problem in problems[:_SHOWN]:
        place = "".join(f" {name} {problem[name]}" for name in ("record", "offset") if problem[name] is not None)
        print(f"{problem['file']}{place}: {problem['reason']}")
    if len(problems) > _SHOWN:
        print(f"... and {len(problems) - _SHOWN} more; --json FILE lists them all")
    if problems:
        print(f"{args.data}: {len(problems)} problems; build the sources named above again", file=sys.stderr)
        return 1
    print(f"{args.data}: sound")
    return 0


def _total(records, args: argparse.Namespace) -> int | None:
    """Returns how many records will be read, None if the folder cannot say."""
    try:
        sources = records.DataFolder.open(args.data).sources.values()
    except errors.UserError:
        return None
    counts = [number for source in sources for number in source.splits.values()]
    return sum(counts if args.limit is None else (min(number, args.limit) for number in counts))
