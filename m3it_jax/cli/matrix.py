"""`m3it matrix`: how scores hold under shift: other tasks, words, languages, videos, and pictures made worse."""

import argparse
import pathlib
import sys
from collections.abc import Callable, Mapping
from typing import Any

from m3it_jax import errors, file_safety, schema
from m3it_jax.cli import answering, options

EXAMPLE = "m3it matrix runs/quickstart runs/quickstart/data --limit 60"

_RESULT, _CHART = "matrix.json", "matrix.svg"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the verb."""
    parser.add_argument("checkpoint", type=pathlib.Path, help="run folder, quick-start folder or one checkpoint folder")
    parser.add_argument("data", type=pathlib.Path, help="data folder with the records to answer")
    parser.add_argument("--out", type=pathlib.Path, help="folder of the evaluation (default: RUN/eval/STEP)")
    parser.add_argument("--tasks", nargs="+", default=[], metavar="TASK", help="skills or families (default: all)")
    parser.add_argument("--split", choices=schema.SPLITS, default="test", help="records to answer (default: test)")
    parser.add_argument(
        "--strengths",
        type=int,
        nargs="*",
        choices=(1, 2, 3, 4, 5),
        default=[1, 2, 3, 4, 5],
        metavar="N",
        help="how much worse pictures are made, of 1 to 5 (default: all five)",
    )
    parser.add_argument(
        "--wordings",
        type=pathlib.Path,
        metavar="FILE",
        help="JSON file {source: [instructions in other words]} (default: those of the package)",
    )
    parser.add_argument(
        "--trained-on",
        nargs="+",
        metavar="SOURCE",
        help="sources that the model was trained on (default: what its run folder says)",
    )
    parser.add_argument("--rescore", action="store_true", help="measure the stored answers without loading a model")
    options.add_decoder_weights(parser)
    options.add_limit(parser)
    options.add_json(parser)
    options.add_dry_run(parser)


def run(args: argparse.Namespace) -> int:
    """Answers what is missing, measures, prints the matrix and returns the exit code.

    Raises:
      UserError: checkpoint, data, wordings or evaluation folder cannot be used.
    """
    from m3it_jax import records
    from m3it_jax.analysis import matrix_chart
    from m3it_jax.evaluation import conditions, lock, matrix, output, runner, subgroups, tasks

    folder = records.DataFolder.open(args.data)
    if not (args.rescore and args.out):
        options.check_checkpoint(args.checkpoint)
    if args.json:
        options.check_file(args.json, option="--json")
    protocol = tasks.Protocol(split=args.split)
    wordings = conditions.read_wordings(args.wordings)
    trained_on, pools = _training(args)
    conditions.check_unseen(wordings, pools)
    store = output.EvalFolder(args.out or answering.default_out(args.checkpoint))
    variants = matrix.variants(sorted(set(args.strengths)))
    questions = runner.limited(runner.read_questions(folder, protocol, only=args.tasks), args.limit)
    if args.dry_run:
        print(f"{len(questions):,} records under {len(variants)} conditions; would write to {store.path}")
        return 0
    with file_safety.held(store.path, doing="evaluating", instead="folder with --out"):
        if args.rescore:
            store.compare({"data": lock.data(folder, protocol)})
        else:
            answering.answer(args, folder, store, protocol=protocol, variants=variants, wordings=wordings)
        result = matrix.measure(
            store,
            protocol,
            trained_on=trained_on,
            is_seen=subgroups.wording(pools.values()) if pools else None,
            is_asked=_of({(question.source, question.id) for question in questions}, set(variants)),
        )
        store.write(_RESULT, result)
        file_safety.write_whole(store.path / _CHART, matrix_chart.plot(result))
    if args.json:
        options.write_json(args.json, result)
    print(matrix.table(result))
    print(f"written to {store.path / _RESULT} and {_CHART}", file=sys.stderr)
    return 0


def _training(args: argparse.Namespace) -> tuple[list[str], dict[str, tuple[str, ...]]]:
    """Returns the sources trained on and their instructions, as far as they are known."""
    trained_on, sources = answering.training_of(args.checkpoint)
    for name in args.trained_on or ():
        if sources and name not in sources:
            raise errors.ConfigError(
                f"--trained-on {name}: the model's training data have no such source; they have {', '.join(sources)}"
            )
    trained_on = args.trained_on or trained_on
    return trained_on, {name: sources[name].instructions for name in trained_on if name in sources}


def _of(asked: set[tuple[str, str]], variants: set[str]) -> Callable[[Mapping[str, Any]], bool]:
    def is_asked(row: Mapping[str, Any]) -> bool:
        return (row["source"], row["id"]) in asked and row["variant"] in variants

    return is_asked
