"""`m3it compare`: a paired test of two evaluations of the same questions."""

import argparse
import pathlib

from m3it_jax import errors
from m3it_jax.cli import options

EXAMPLE = "m3it compare runs/mine/eval/1100 runs/quickstart/stage2/eval/1100 --json compare.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the verb."""
    add_evaluations(parser)
    parser.add_argument("--metric", help="compare every task by this metric (default: the headline of each task)")
    options.add_json(parser)


def add_evaluations(parser: argparse.ArgumentParser) -> None:
    """Adds the two evaluations, and in what they may differ."""
    place = "folder that m3it eval has written, or a run folder (its newest evaluation)"
    parser.add_argument("a", type=pathlib.Path, help=place)
    parser.add_argument("b", type=pathlib.Path, help="the other one; differences are A minus B")
    parser.add_argument(
        "--allow", nargs="+", default=[], metavar="FIELD", help="fields of lock.json that may differ, such as packages"
    )


def run(args: argparse.Namespace) -> int:
    """Prints the comparison and returns 0.

    Raises:
      UserError: an evaluation cannot be read, or the two cannot be compared.
    """
    from m3it_jax.evaluation import comparison, output, tasks

    if args.json:
        options.check_file(args.json, option="--json")
    first, second = (output.EvalFolder(evaluation(path)) for path in (args.a, args.b))
    found = comparison.compare(first, second, protocol=tasks.Protocol(), allow=args.allow, metric=args.metric)
    if args.json:
        options.write_json(args.json, found)
    print(comparison.table(found))
    return 0


def evaluation(path: pathlib.Path) -> pathlib.Path:
    """Returns the evaluation folder itself, or the newest one of a run folder or of a quick start's stage 2.

    Raises:
      UserError: there is none.
    """
    if not path.is_dir():
        raise errors.UserError(f"{path}: is no folder; name one that m3it eval has written")
    if (path / "predictions.jsonl").exists() or (path / "lock.json").exists():
        return path
    for parent in (path / "eval", path / "stage2" / "eval"):
        steps = [each for each in parent.glob("*") if each.name.isdecimal()]
        if steps:
            return max(steps, key=lambda each: int(each.name))
    raise errors.UserError(f"{path}: holds no evaluation; name a folder that m3it eval has written")
