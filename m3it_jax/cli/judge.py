"""`m3it judge`: a text model compares the answers of two evaluations."""

import argparse
import dataclasses
import json
import pathlib
import sys
from typing import Any

from m3it_jax import errors, file_safety
from m3it_jax.cli import compare, endpoint, options

EXAMPLE = "m3it judge runs/mine runs/quickstart --endpoint http://127.0.0.1:8000/v1 --model my-judge"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the verb."""
    compare.add_evaluations(parser)
    endpoint.add_address(parser)
    parser.add_argument("--model", help="name of the judge at the endpoint (default: gpt-4, the paper's)")
    parser.add_argument("--items", type=options.positive, metavar="N", help="questions, drawn at random (default: 300)")
    parser.add_argument(
        "--samples", type=options.positive, metavar="N", help="answers of the judge to each order (default: 3)"
    )
    parser.add_argument(
        "--retries",
        type=options.count,
        metavar="N",
        help="how often an answer without scores is asked anew (default: 2)",
    )
    parser.add_argument(
        "--tasks", nargs="+", default=[], metavar="TASK", help="skills, families or sources (default: all)"
    )
    parser.add_argument("--seed", type=options.count, metavar="N", help="of the drawn questions (default: 0)")
    parser.add_argument("--out", type=pathlib.Path, help="folder of the answers and the result (default: A/judge)")
    parser.add_argument(
        "--timeout", type=options.amount, metavar="S", help="seconds until a request is given up (default: 300)"
    )
    endpoint.add_limits(parser)
    options.add_json(parser)
    options.add_dry_run(parser)


def run(args: argparse.Namespace) -> int:
    """Judges, prints the result and returns 0; 1 if the cap or the endpoint left some samples unanswered.

    Raises:
      UserError: the evaluations cannot be compared, or the endpoint cannot be used.
    """
    from m3it_jax import llm_client
    from m3it_jax.evaluation import comparison, judge, judge_report, output, tasks

    names = [field.name for field in dataclasses.fields(judge.Settings)]
    given = {name: getattr(args, name, None) for name in names}
    settings = judge.Settings(**{name: value for name, value in given.items() if value is not None})
    limits = endpoint.limits(args)
    if args.json:
        options.check_file(args.json, option="--json")
    first, second = (output.EvalFolder(compare.evaluation(path)) for path in (args.a, args.b))
    pairs, _ = comparison.paired(first, second, allow=args.allow)
    judgements = judge.chosen(pairs, settings=settings, only=args.tasks)
    out = args.out or first.path / "judge"
    cache = llm_client.Cache(out / "answers")
    before = judge.spent_before(judgements, cache, settings=settings)
    if args.dry_run:
        wanted = len(judgements) * len(judge.ORDERS) * settings.samples
        print(f"{len(judgements)} questions, {wanted} answers of {settings.model}; would write to {out}")
        row = judgements[0].a
        print(judge.prompt(row, row["prediction"], judgements[0].b["prediction"]))
        return 0
    if args.timeout:
        limits = dataclasses.replace(limits, timeout_s=args.timeout)
    client = llm_client.Client(args.endpoint, cache, _less(limits, before))
    with file_safety.held(out, doing="judging", instead="folder with --out"):
        judge.ask(judgements, client, settings=settings)
        found: dict[str, Any] = {"a": str(first.path), "b": str(second.path)}
        found |= judge_report.report(judgements, settings=settings, protocol=tasks.Protocol())
        spent = before + client.spent
        found["tokens"] = {"prompt": spent.prompt, "answer": spent.answer}
        found["cost"] = limits.cost(spent)
        rows = [json.dumps(line, ensure_ascii=False) for line in judge_report.lines(judgements)]
        text = "".join(f"{row}\n" for row in rows).encode("utf-8", "backslashreplace")
        file_safety.write_whole(out / "judgements.jsonl", text)
        options.write_json(out / "judge.json", found)
    if args.json:
        options.write_json(args.json, found)
    print(judge_report.table(found))
    cost = f", a cost of {found['cost']:.4f}" if args.prices else ""
    print(f"{client.sent} requests, {client.from_cache} answers from before, {spent.total()} tokens{cost}")
    print(f"written to {out}", file=sys.stderr)
    if found["samples"]["unanswered"]:
        number = found["samples"]["unanswered"]
        raise errors.UserError(
            f"{number} answers of the judge did not come ({found['problem']}); what came is kept in {out}: the same "
            "command goes on, with a larger budget if that is spent"
        )
    return 0


def _less(limits, spent):
    """Returns the limits that are left after what earlier runs of the same judging have used."""
    tokens = None if limits.max_tokens is None else max(0, limits.max_tokens - spent.total())
    cost = None if limits.max_cost is None else max(0.0, limits.max_cost - limits.cost(spent))
    return dataclasses.replace(limits, max_tokens=tokens, max_cost=cost)
