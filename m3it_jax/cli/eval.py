"""`m3it eval`: answer held-out records and score the answers beside their controls."""

import argparse
import pathlib
import sys
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from m3it_jax import errors, file_safety, schema
from m3it_jax.cli import answering, options

if TYPE_CHECKING:
    from m3it_jax import config, records
    from m3it_jax.evaluation import output, tasks

EXAMPLE = "m3it eval runs/quickstart runs/quickstart/data --controls"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the verb."""
    parser.add_argument("checkpoint", type=pathlib.Path, help="run folder, quick-start folder or one checkpoint folder")
    parser.add_argument("data", nargs="?", type=pathlib.Path, help="data folder with the records to answer")
    parser.add_argument(
        "--data", dest="data_option", type=pathlib.Path, metavar="DATA", help="the data folder, as an option"
    )
    parser.add_argument("--out", type=pathlib.Path, help="folder of the evaluation (default: RUN/eval/STEP)")
    parser.add_argument("--tasks", nargs="+", default=[], metavar="TASK", help="skills or families (default: all)")
    parser.add_argument("--split", choices=schema.SPLITS, help="records to answer (default: test)")
    parser.add_argument(
        "--suite",
        metavar="CONFIG",
        help="answer the sources of a suite, each with its own split, prompt and metric, as configs/eval_paper.py",
    )
    parser.add_argument(
        "--controls",
        action="store_true",
        help="also answer with blank and with shuffled pictures, and use the most common training answers",
    )
    parser.add_argument(
        "--max-new-tokens", type=options.positive, metavar="N", help="maximum number of tokens per answer (default: 32)"
    )
    parser.add_argument(
        "--rescore",
        action="store_true",
        help="score the stored answers (those of --tasks and --limit) without loading a model",
    )
    options.add_decoder_weights(parser)
    options.add_limit(parser)
    options.add_json(parser)
    options.add_dry_run(parser)


def run(args: argparse.Namespace) -> int:
    """Evaluates, prints the table and returns the exit code.

    Raises:
      UserError: checkpoint, data or evaluation folder cannot be used, or there is nothing to score.
    """
    if (args.data is None) == (args.data_option is None):
        raise errors.ConfigError("m3it eval: give one data folder, as m3it eval CHECKPOINT DATA")
    args.data = args.data or args.data_option
    from m3it_jax import records
    from m3it_jax.evaluation import controls, examples, lock, output, report, scores, subgroups, suites

    suite = _suite(args)
    folder = records.DataFolder.open(args.data)
    if not (args.rescore and args.out):
        options.check_checkpoint(args.checkpoint)
    if args.json:
        options.check_file(args.json, option="--json")
    store = output.EvalFolder(args.out or answering.default_out(args.checkpoint))
    protocol = _protocol(args, store, suite)
    if args.dry_run:
        return _say_what_would_be_done(args, folder, store, protocol=protocol)
    if args.rescore and not store.has_predictions():
        raise errors.UserError(f"{store.path}: holds no answer to score; run the same command without --rescore")
    with file_safety.held(store.path, doing="evaluating", instead="folder with --out"):
        if args.rescore:
            store.compare({"data": lock.data(folder, protocol)})
        else:
            variants = (controls.OWN, *(controls.CONTROLS if args.controls else ()))
            answering.answer(args, folder, store, protocol=protocol, variants=variants)
        only = set(args.tasks)
        kept = _limited_rows(store, args) if args.rescore and args.limit else None

        def is_asked(row: Mapping[str, Any]) -> bool:
            if args.rescore and only and not only & {row["skill"], row["family"]}:
                return False
            return kept is None or (row["source"], row["id"]) in kept

        num_records = sum(info.splits.get(protocol.split_of(name), 0) for name, info in folder.sources.items())
        result = scores.score(store, protocol, is_asked=is_asked, num_records=num_records)
        if not result["tasks"]:
            raise errors.UserError(f"{store.path}: holds no answer to score; run the same command without --rescore")
        own = [row for row in store.predictions() if is_asked(row) and row["variant"] == controls.OWN]
        trained_on, sources = answering.training_of(args.checkpoint)
        seen = subgroups.wording(sources[name].instructions for name in trained_on if name in sources)
        result["subgroups"] = subgroups.score(own, protocol, is_seen=seen if sources else None)
        if suite:
            result["suite"] = suites.result(suite, result, trained_on=trained_on)
        store.write(output.SCORES, result)
        examples.write(store, folder, protocol=protocol)
    if args.json:
        options.write_json(args.json, result)
    print("\n".join([report.table(result), *subgroups.table(result["subgroups"])]))
    if suite:
        print(f"\n{suites.table(result['suite'])}")
    print(f"written to {store.path}", file=sys.stderr)
    return 0


def _suite(args: argparse.Namespace) -> "config.EvalSuite | None":
    if args.suite is None:
        return None
    from m3it_jax.cli import configuration

    if args.split:
        raise errors.ConfigError("--split: a suite has a split for each of its sources; leave --split or --suite out")
    return configuration.load_suite(args.suite)


def _protocol(
    args: argparse.Namespace, store: "output.EvalFolder", suite: "config.EvalSuite | None"
) -> "tasks.Protocol":
    from m3it_jax.evaluation import suites, tasks

    rows = suites.resolved(suite) if suite else {}
    changed = {"max_new_tokens": suite.max_new_tokens} if suite else {}
    if args.rescore and not suite:  # scored as it was asked
        rows = tasks.suite_of(store.lock())
    if args.max_new_tokens is not None:
        changed["max_new_tokens"] = args.max_new_tokens
    return tasks.Protocol(split=args.split or "test", suite=rows, **changed)


def _limited_rows(store: "output.EvalFolder", args: argparse.Namespace) -> set[tuple[str, str]]:
    """Returns (source, id) of the first answered questions of each source, `--limit` of each."""
    numbers: dict[str, dict[str, int]] = {}
    for row in store.predictions():
        numbers.setdefault(row["source"], {})[row["id"]] = row["number"]
    return {
        (source, name)
        for source, ids in numbers.items()
        for name in sorted(ids, key=lambda name: ids[name])[: args.limit]
    }


def _say_what_would_be_done(
    args: argparse.Namespace, folder: "records.DataFolder", store: "output.EvalFolder", *, protocol: "tasks.Protocol"
) -> int:
    from m3it_jax.evaluation import controls, runner

    questions = runner.limited(runner.read_questions(folder, protocol, only=args.tasks), args.limit)
    variants = 1 + (len(controls.CONTROLS) if args.controls else 0)
    answered = len(store.predictions())
    print(f"{len(questions)} records in {variants} variants, {answered} answers are there; would write to {store.path}")
    return 0
