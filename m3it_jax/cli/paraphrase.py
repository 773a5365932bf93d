"""`m3it paraphrase`: turn short answers into full sentences by a text model."""

import argparse
import json
import os
import pathlib
import shutil
import sys
import tempfile
from typing import IO, Any

from m3it_jax import errors, file_safety
from m3it_jax.cli import building, endpoint, options

EXAMPLE = "m3it paraphrase data/m3it --endpoint http://127.0.0.1:8000/v1 --model my-model --out data/m3it-sentences"

REJECTED = "paraphrase_rejected.jsonl"  # in OUT: each answer that a template replaces, with the model's text and reason


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the verb."""
    parser.add_argument("data", type=pathlib.Path, help="data folder")
    endpoint.add_address(parser)
    parser.add_argument("--model", required=True, help="name of the model at the endpoint")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the new data")
    parser.add_argument(
        "--sources", nargs="+", metavar="NAME", help="sources to change (default: those that the paper paraphrased)"
    )
    parser.add_argument(
        "--cache", type=pathlib.Path, metavar="DIR", help="folder that keeps every answer (default: OUT.answers)"
    )
    parser.add_argument(
        "--sampling",
        type=_json_object,
        metavar="JSON",
        help='fields of each request (default: {"temperature": 0, "max_tokens": 200})',
    )
    endpoint.add_limits(parser)
    parser.add_argument(
        "--unanswered",
        choices=("stop", "fallback"),
        default="stop",
        help="if the endpoint gave no answer: write nothing, or use the template's sentence (default: stop)",
    )
    parser.add_argument(
        "--jobs", type=options.positive, help="worker processes that write (default: one for each core)"
    )
    options.add_limit(parser)
    options.add_json(parser)
    options.add_dry_run(parser)


def run(args: argparse.Namespace) -> int:
    """Asks for every record, writes the new folder, prints what came of it and returns the exit code.

    Raises:
      UserError: a folder or the endpoint cannot be used, or records have no answer and `--unanswered` is `stop`.
    """
    from m3it_jax import llm_client, progress, records
    from m3it_jax.dataset_building.rewriting import copying, paraphrase

    folder = records.DataFolder.open(args.data)
    names = args.sources or paraphrase.paraphrased_by_the_paper(folder.sources)
    if not names:
        raise errors.ConfigError(
            f"--sources: the paper paraphrased none in {args.data}; name some of {', '.join(folder.sources)}"
        )
    paraphraser = paraphrase.Paraphraser(
        args.model,
        {name: paraphrase.plan(name) for name in dict.fromkeys(names)},
        args.cache or args.out.resolve().with_name(f"{args.out.resolve().name}.answers"),
        args.sampling or paraphrase.SAMPLING,
    )
    paraphrase.check_sampling(paraphraser.sampling)
    order = copying.order(
        folder,
        args.out,
        paraphraser,
        step="paraphrase",
        about=f"short answers became sentences of {args.model}, or of a template where its text was rejected",
        sources=names,
        settings=paraphraser.settings() | {"unanswered": args.unanswered},
        limit=args.limit,
    )
    client = llm_client.Client(args.endpoint, llm_client.Cache(paraphraser.cache), _limits(args, llm_client))
    changed = [spec for spec in order.specs if spec.name in names]
    if args.dry_run:
        _tell(folder, paraphraser, {spec.name: order.rows(spec) for spec in changed})
        print(f"nothing was asked, and nothing was written to {args.out}", file=sys.stderr)
        return 0
    for option, place in (("--out", args.out), ("--cache", paraphraser.cache)):
        options.check_folder(place, option=option)
    if args.json:
        options.check_file(args.json, option="--json")
    with tempfile.TemporaryFile("w+", encoding="utf-8") as rejected:
        with progress.Progress(sum(map(order.rows, changed)), "answers") as shown:
            counts = paraphrase.ask(
                folder,
                paraphraser,
                client,
                limit=args.limit,
                on_record=shown.update,
                on_rejected=lambda line: rejected.write(_line(line)),
            )
        report = _report(args, client, counts)
        _check_answered(args, report, paraphraser.cache)
        manifest = building.build(order, args.jobs)
        _keep(rejected, args.out / REJECTED)
    if args.json:
        options.write_json(args.json, report | {"manifest": manifest})
    options.print_manifest(manifest, args.out)
    return 0


def _limits(args: argparse.Namespace, llm_client) -> Any:
    bounded = args.sampling is None or any(name in args.sampling for name in llm_client.ANSWER_BOUNDS)
    if not bounded and (args.max_cost is not None or args.max_tokens_total is not None):
        raise errors.ConfigError(
            f"--sampling: must hold {' or '.join(llm_client.ANSWER_BOUNDS)} where there is a budget"
        )
    return endpoint.limits(args)


def _tell(folder, paraphraser, rows: dict[str, int]) -> None:
    """Prints what would be asked, with the prompt of each source's first record."""
    from m3it_jax.dataset_building.rewriting import copying

    for name, number in rows.items():
        print(f"{name}: {number} records ({paraphraser.plans[name].context})")
        first = next(copying.stored(folder.path, name, next(iter(folder.sources[name].splits))))
        for line in paraphraser.request(first).messages[0][1].splitlines():
            print(f"  | {line}")


def _report(args: argparse.Namespace, client, counts) -> dict[str, Any]:
    """Returns what came of the records as JSON, after it was printed."""
    report: dict[str, Any] = {
        "model": args.model,
        "sources": {name: found.summary() for name, found in counts.items()},
        "requests": client.sent,
        "answers_from_cache": client.from_cache,
        "tokens": {"prompt": client.spent.prompt, "answer": client.spent.answer},
    }
    if args.prices:
        report["cost"] = client.cost
    for name, found in report["sources"].items():
        reasons = ", ".join(f"{reason} {number}" for reason, number in found["fallback"].items())
        total = sum(found["fallback"].values())
        line = f"{name}: {found['paraphrased']} paraphrased, {total} by template"
        line += f" ({reasons})" if reasons else ""
        line += f", {found['paraphrased_before']} paraphrased before" if found["paraphrased_before"] else ""
        print(line)
    cost = f", a cost of {report['cost']:.4f}" if args.prices else ""
    tokens = client.spent.total()
    print(f"{client.sent} requests, {client.from_cache} answers from the cache, {tokens} tokens{cost}")
    return report


def _check_answered(args: argparse.Namespace, report: dict[str, Any], cache: pathlib.Path) -> None:
    """Stops before anything is written if the endpoint owes answers; those that it refuses it will never give."""
    kinds = ("failed", "budget")
    owed = {kind: sum(found["unanswered"].get(kind, 0) for found in report["sources"].values()) for kind in kinds}
    if args.unanswered == "stop" and any(owed.values()):
        if args.json:
            options.write_json(args.json, report)
        problem = next(found["problem"] for found in report["sources"].values() if found["problem"])
        raise errors.UserError(
            f"{owed['failed']} records got no answer and {owed['budget']} were beyond the budget ({problem}); nothing "
            f"was written, and what was answered is kept in {cache}: run the same command again, with a larger budget "
            "if that is spent, or with --unanswered fallback"
        )


def _keep(rejected: IO[str], path: pathlib.Path) -> None:
    is_stream = file_safety.is_stream(path)
    partial = path if is_stream else path.with_name(f".{path.name}.{os.getpid()}.partial")
    rejected.seek(0)
    with open(partial, "w", encoding="utf-8") as file:
        shutil.copyfileobj(rejected, file)
    if not is_stream:
        os.replace(partial, path)


def _line(value: dict[str, str]) -> str:
    text = json.dumps(value, ensure_ascii=False)
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:  # half of a pair, which can be the very reason
        text = json.dumps(value)
    return text + "\n"


def _json_object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise argparse.ArgumentTypeError(f"{text!r} must be a JSON object")
    return value
