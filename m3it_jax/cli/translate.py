"""`m3it translate`: a data folder in other languages, with a score on every row."""

import argparse
import json
import pathlib
import sys
from typing import TYPE_CHECKING, Any

from m3it_jax import errors, file_safety, languages
from m3it_jax.cli import building, endpoint, engines, options

if TYPE_CHECKING:
    from m3it_jax.dataset_building.translation import asking, plan, step
    from m3it_jax.records import DataFolder

EXAMPLE = """m3it translate data/m3it --languages all --translator nllb --model nllb-1.3B-ct2 --out data/m3it-80
  m3it translate data/m3it-mini --languages es ca --translator apertium --out data/mini-es-ca
  m3it translate data/m3it --languages de --translator endpoint --endpoint http://127.0.0.1:8000/v1 --model my-model \\
      --out data/m3it-de"""

PAGES = "translation"  # folder in OUT with a page for each language
MIXTURE = "mixture.json"  # in it: what --data.mixture takes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the verb."""
    parser.add_argument("data", type=pathlib.Path, help="data folder")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the new data")
    parser.add_argument(
        "--languages",
        nargs="+",
        required=True,
        metavar="CODE",
        help="languages to translate into: codes such as de or deu_Latn, or all for the 80 of M3IT-80",
    )
    parser.add_argument(
        "--from", dest="source", default="en", metavar="CODE", help="language of the data (default: en)"
    )
    engines.add_arguments(parser)
    parser.add_argument(
        "--sources", nargs="+", metavar="NAME", help="sources to translate (default: those that the paper translated)"
    )
    parser.add_argument(
        "--rows",
        type=options.positive,
        metavar="N",
        help="most rows of a split, drawn with --seed (default: the paper's 500, 800 of winoground, else all)",
    )
    parser.add_argument("--seed", type=int, default=0, help="random seed; decides which rows are taken (default: 0)")
    parser.add_argument(
        "--cache", type=pathlib.Path, metavar="DIR", help="folder that keeps every translation (default: OUT.said)"
    )
    parser.add_argument("--keep-originals", action="store_true", help="copy the sources of DATA into OUT as well")
    _add_scores(parser)
    parser.add_argument(
        "--unanswered",
        choices=("stop", "quarantine"),
        default="stop",
        help="if the translator gave nothing for a text: write nothing, or quarantine its rows (default: stop)",
    )
    parser.add_argument(
        "--jobs", type=options.positive, help="worker processes that write (default: one for each core)"
    )
    options.add_limit(parser)
    options.add_json(parser)
    options.add_dry_run(parser)


def _add_scores(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--language-id",
        choices=("py3langid", "none"),
        default="py3langid",
        help="identify the language of every row where py3langid knows it (default: py3langid)",
    )
    parser.add_argument("--back-translate", action="store_true", help="score the way back by chrF; twice the work")
    parser.add_argument("--judge-model", metavar="NAME", help="model at --judge-endpoint that scores every row")
    parser.add_argument("--judge-endpoint", metavar="URL", help="OpenAI-compatible endpoint of that model")
    parser.add_argument(
        "--bounds",
        type=pathlib.Path,
        metavar="FILE",
        help='JSON with what scores may be, by language or *: {"*": {"most_copied": 0.7}, "de": {"most_length": 2}}',
    )
    parser.add_argument(
        "--temperature",
        type=options.amount,
        default=1.0,
        metavar="T",
        help="of the shares of languages in OUT/translation/mixture.json; above 1 evens them out (default: 1)",
    )
    parser.add_argument(
        "--bleu",
        type=pathlib.Path,
        metavar="FILE",
        help="skip languages below --threshold in this table of BLEU scores",
    )
    parser.add_argument(
        "--threshold", type=options.amount, default=20.0, help="the least BLEU, with --bleu (default: 20, the paper's)"
    )


def run(args: argparse.Namespace) -> int:
    """Asks for every record, writes the new folder and a page for each language, and returns the exit code.

    Raises:
      UserError: a folder, a language or the translator cannot be used, or texts have no translation and
        `--unanswered` is `stop`.
    """
    from m3it_jax import records
    from m3it_jax.dataset_building.translation import plan

    folder = records.DataFolder.open(args.data)
    source = languages.find(args.source)
    targets = _targets(args, source)
    cache = args.cache or args.out.resolve().with_name(f"{args.out.resolve().name}.said")
    engine = engines.of(args, cache)
    for target in targets:
        engine.check(source, target)
        if args.back_translate:
            engine.check(target, source)
    taken = plan.taken(folder, language=source, names=args.sources, rows=args.rows, seed=args.seed)
    steps = [_step(args, source, target, engine=engine, cache=cache) for target in targets]
    order = _order(args, folder, taken, steps=steps, store=None)
    if args.dry_run:
        _tell(folder, taken, steps, limit=args.limit)
        print(f"nothing was translated, and nothing was written to {args.out}", file=sys.stderr)
        return 0
    for option, place in (("--out", args.out), ("--cache", cache)):
        options.check_folder(place, option=option)
    if args.json:
        options.check_file(args.json, option="--json")
    with file_safety.held(cache, doing="translating", instead="--cache"):
        total = sum(map(order.rows, order.specs))
        counts, order = _asked(args, folder, taken, steps=steps, engine=engine, total=total)
        _check_answered(args, counts, cache)
        manifest = building.build(order, args.jobs)
    return _tell_result(args, manifest, counts)


def _targets(args: argparse.Namespace, source: languages.Language) -> list[languages.Language]:
    targets = [language for language in languages.named(args.languages) if language is not source]
    if args.bleu:
        from m3it_jax.dataset_building.translation import selection

        kept = selection.kept(selection.read(args.bleu), args.threshold)
        for language in targets:
            if language.code not in kept:
                print(
                    f"{language.code}: skipped, {args.bleu} has no BLEU above {args.threshold:g} for it",
                    file=sys.stderr,
                )
        targets = [language for language in targets if language.code in kept]
    if not targets:
        raise errors.ConfigError("--languages: nothing is left to translate into; name another language")
    return targets


def _step(
    args: argparse.Namespace,
    source: languages.Language,
    target: languages.Language,
    *,
    engine: Any,
    cache: pathlib.Path,
) -> "step.Translation":
    from m3it_jax import metrics
    from m3it_jax.dataset_building.translation import judging, quality, step

    if (args.judge_model is None) != (args.judge_endpoint is None):
        raise errors.ConfigError("--judge-model: goes with --judge-endpoint; give both or neither")
    if args.language_id != "none":
        try:
            metrics.identified_languages()
        except metrics.ScoringError as error:
            raise errors.UserError(f"{error}; or give --language-id none") from error
    changed = _bounds_file(args.bounds)
    return step.Translation(
        source,
        target,
        "",
        engine.settings(),
        cache,
        quality.bounds(target, changed),
        identifies=args.language_id != "none",
        is_back_translated=args.back_translate,
        judge=judging.Judge(args.judge_model, source, target, cache / "judge") if args.judge_model else None,
    )


def _bounds_file(path: pathlib.Path | None) -> dict[str, Any]:
    if path is None:
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise errors.ConfigError(f"--bounds {path}: cannot be read ({error})") from error
    if not isinstance(value, dict):
        raise errors.ConfigError(f"--bounds {path}: must be a JSON object, by language or *")
    for code in value:
        if code != "*":
            languages.find(code)
    return value


def _order(
    args: argparse.Namespace,
    folder: "DataFolder",
    taken: "list[plan.Taken]",
    *,
    steps: "list[step.Translation]",
    store: Any,
) -> Any:
    from m3it_jax.dataset_building.translation import plan

    codes = ", ".join(each.target.code for each in steps)
    about = f"{args.source} was translated into {codes} by {steps[0].engine['name']}"
    return plan.order(
        folder,
        args.out,
        taken,
        steps=steps,
        store=store,
        about=about,
        keeps_originals=args.keep_originals,
        limit=args.limit,
    )


def _asked(
    args: argparse.Namespace,
    folder: "DataFolder",
    taken: "list[plan.Taken]",
    *,
    steps: "list[step.Translation]",
    engine: Any,
    total: int,
) -> "tuple[dict[str, asking.Counts], Any]":
    """Asks for everything; returns what was asked by language, and the order for what is in the store now."""
    from m3it_jax import llm_client, progress
    from m3it_jax.dataset_building.translation import asking, plan
    from m3it_jax.dataset_building.translation.store import Store

    judge = None
    if args.judge_endpoint:
        answers = llm_client.Cache(steps[0].cache / "judge")
        judge = llm_client.Client(args.judge_endpoint, answers, endpoint.limits(args))
    counts = {each.target.code: asking.Counts() for each in steps}
    store = Store(steps[0].cache, writes=True)
    try:
        for source in taken:
            for each in steps:
                pool = folder.sources[source.source].instructions
                asking.ask_texts(pool, each, engine, store=store, counts=counts[each.target.code])
        with progress.Progress(total, "rows") as shown:
            for source in taken:
                rows = plan.instances(folder, source, args.limit)
                asking.ask(rows, steps, engine, store=store, counts=counts, judge=judge, on_record=shown.update)
        return counts, _order(args, folder, taken, steps=steps, store=store)
    finally:
        store.close()


def _tell(
    folder: "DataFolder", taken: "list[plan.Taken]", steps: "list[step.Translation]", *, limit: int | None
) -> None:
    """Prints what would be translated, with the first record of each source as the translator would see it."""
    from m3it_jax.dataset_building.translation import answers, plan, texts

    for source in taken:
        splits = source.counts(folder)
        number = sum(min(count, limit or count) for count in splits.values())
        print(f"{source.source}: {number} records into {', '.join(each.target.code for each in steps)}")
        first = next(plan.instances(folder, source, 1), None)
        for line in dict.fromkeys(answers.wanted(texts.of(first))) if first else ():
            print(f"  | {line}")


def _check_answered(args: argparse.Namespace, counts: "dict[str, asking.Counts]", cache: pathlib.Path) -> None:
    """Stops before anything is written if the translator owes answers."""
    owed = sum(found.unanswered for found in counts.values())
    if args.unanswered == "stop" and owed:
        problem = next(found.problem for found in counts.values() if found.problem)
        raise errors.UserError(
            f"{owed} text{'s' if owed > 1 else ''} got no translation ({problem}); nothing was written, and what was "
            f"translated is kept in {cache}: run the same command again, or with --unanswered quarantine"
        )


def _tell_result(args: argparse.Namespace, manifest: dict[str, Any], counts: "dict[str, asking.Counts]") -> int:
    """Writes the pages, prints one line a language, and returns the exit code."""
    from m3it_jax import records
    from m3it_jax.analysis import translation_pages
    from m3it_jax.dataset_building.translation import report

    seen = report.collect(records.DataFolder.open(args.out))
    translation_pages.write(args.out / PAGES, seen)
    options.write_json(args.out / PAGES / MIXTURE, report.mixture(seen, args.temperature))
    asked = {code: found.summary() for code, found in counts.items()}
    if args.json:
        options.write_json(args.json, {"languages": seen, "asked": asked, "manifest": manifest})
    texts, kept = (sum(found[name] for found in asked.values()) for name in ("asked", "from_store"))
    print(report.table(seen))
    print(f"{texts} texts translated, {kept} from the cache; pages in {args.out / PAGES}", file=sys.stderr)
    options.print_manifest(manifest, args.out)
    return 0
