"""`m3it languages`: the 80 languages, how well a translator does them, and what they cost in tokens."""

import argparse
import dataclasses
import pathlib
import sys

from m3it_jax import errors, file_safety, languages
from m3it_jax.cli import engines, options

EXAMPLE = """m3it languages list
  m3it languages bleu flores200_dataset --translator nllb --model nllb-1.3B-ct2 --table bleu.json
  m3it languages tokens data/m3it-mini/tokenizer.model --svg tokens.svg
  m3it languages scores runs/stage2 --svg languages.svg --trained en zh de"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the actions and their options."""
    actions = parser.add_subparsers(dest="action", metavar="list|bleu|tokens|scores", required=True)
    listed = actions.add_parser("list", help="print the 80 languages of M3IT-80 with their codes and scripts")
    options.add_json(listed)
    scored = actions.add_parser("bleu", help="score a translator on FLORES and list the languages above a threshold")
    scored.add_argument("flores", type=pathlib.Path, help="folder in the layout of FLORES-200 or FLORES-101")
    scored.add_argument(
        "--languages", nargs="+", default=["all"], metavar="CODE", help="languages to score (default: all, the 80)"
    )
    scored.add_argument("--from", dest="source", default="en", metavar="CODE", help="source language (default: en)")
    engines.add_arguments(scored)
    scored.add_argument("--split", default="devtest", help="part of FLORES (default: devtest)")
    scored.add_argument("--spm", type=pathlib.Path, metavar="FILE", help="FLORES' SentencePiece model, for spBLEU")
    scored.add_argument(
        "--threshold", type=options.amount, default=20.0, help="BLEU above which a language is kept (default: 20)"
    )
    scored.add_argument(
        "--table", type=pathlib.Path, metavar="FILE", help="write the table that `m3it translate` reads"
    )
    scored.add_argument(
        "--cache", type=pathlib.Path, default=pathlib.Path("flores.said"), help="folder that keeps every translation"
    )
    options.add_limit(scored)
    options.add_json(scored)
    _add_tokens(actions.add_parser("tokens", help="show what each language costs in tokens"))
    shown = actions.add_parser("scores", help="show an evaluation language by language, with the gap to English")
    shown.add_argument("evaluation", type=pathlib.Path, help="evaluation folder, or run folder with one")
    shown.add_argument("--svg", type=pathlib.Path, metavar="FILE", help="write a heat map, languages by tasks, to FILE")
    shown.add_argument(
        "--trained",
        nargs="+",
        default=[],
        metavar="CODE",
        help="languages that were trained on: marked in the heat map",
    )
    options.add_json(shown)


def _add_tokens(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "tokenizers", nargs="+", type=pathlib.Path, metavar="FILE", help="SentencePiece model or tokenizer.json"
    )
    parser.add_argument("--names", nargs="+", metavar="NAME", help="what the tokenizers are called in the table")
    parser.add_argument(
        "--texts", type=pathlib.Path, metavar="FLORES", help="folder as FLORES has it (default: names in Unicode CLDR)"
    )
    parser.add_argument("--split", default="devtest", help="part of FLORES (default: devtest)")
    parser.add_argument("--svg", type=pathlib.Path, metavar="FILE", help="write the plot to FILE")
    parser.add_argument(
        "--page", type=pathlib.Path, metavar="FILE", help="put the table between its marks in a Markdown page"
    )
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Lists or scores, and returns the exit code.

    Raises:
      UserError: a file or the translator cannot be used.
    """
    return {"list": _list, "bleu": _bleu, "tokens": _tokens, "scores": _scores}[args.action](args)


def _list(args: argparse.Namespace) -> int:
    rows = [
        {
            "code": each.code,
            "nllb": each.nllb,
            "bcp47": each.bcp47,
            "flores101": each.flores_101,
            "name": each.name,
            "script": each.script,
            "right_to_left": each.is_right_to_left,
        }
        for each in languages.M3IT_80
    ]
    if args.json:
        options.write_json(args.json, rows)
    print(f"{'code':<6}{'NLLB':<10}{'BCP-47':<9}{'script':<8}name")
    for each in languages.M3IT_80:
        print(f"{each.code:<6}{each.nllb:<10}{each.bcp47:<9}{each.script:<8}{each.name}")
    return 0


def _bleu(args: argparse.Namespace) -> int:
    from m3it_jax import progress
    from m3it_jax.dataset_building.translation import selection
    from m3it_jax.dataset_building.translation.store import Store

    source = languages.find(args.source)
    targets = [language for language in languages.named(args.languages) if language is not source]
    for option, path in (("--table", args.table), ("--json", args.json)):
        if path:
            options.check_file(path, option=option)
    options.check_folder(args.cache, option="--cache")
    given = selection.sentences(args.flores, source, args.split)[: args.limit]
    wanted = {each: selection.sentences(args.flores, each, args.split)[: args.limit] for each in targets}
    pieces = selection.pieces_of(args.spm)
    engine = engines.of(args, args.cache)
    for target in targets:
        engine.check(source, target)
    rows = []
    with file_safety.held(args.cache, doing="translating", instead="--cache"):
        store = Store(args.cache, writes=True)
        try:
            with progress.Progress(len(targets), "languages") as shown:
                for target in targets:
                    each = selection.plain_step(source, target, engine=engine, cache=args.cache)
                    rows.append(
                        selection.scored(each, engine, given=given, wanted=wanted[target], store=store, pieces=pieces)
                    )
                    shown.update()
        finally:
            store.close()
    table = selection.written(
        rows,
        {
            "from": source.code,
            "flores": args.flores.name,
            "split": args.split,
            "engine": dict(engine.settings()),
            "spm": file_safety.sha256(args.spm) if args.spm else None,
            "threshold": args.threshold,
        },
    )
    for path in filter(None, (args.table, args.json)):
        options.write_json(path, table)
    print(selection.table(rows, args.threshold))
    kept = selection.kept({row.code: row.score for row in rows}, args.threshold)
    print(f"{len(kept)} of {len(rows)} languages are above {args.threshold:g}", file=sys.stderr)
    if not rows:
        raise errors.ConfigError("--languages: nothing to score; name another language")
    return 0


def _scores(args: argparse.Namespace) -> int:
    from m3it_jax.cli.compare import evaluation
    from m3it_jax.evaluation import by_language, output, tasks

    for option, path in (("--svg", args.svg), ("--json", args.json)):
        if path:
            options.check_file(path, option=option)
    folder = output.EvalFolder(evaluation(args.evaluation))
    protocol = dataclasses.replace(tasks.Protocol(), suite=tasks.suite_of(folder.lock()))
    found = by_language.measure(folder, protocol)
    if args.svg:
        trained = [languages.find(code).code for code in args.trained]
        options.write_text(args.svg, by_language.heat_map(found, trained), option="--svg")
    if args.json:
        options.write_json(args.json, found)
    print(by_language.table(found))
    return 0


def _tokens(args: argparse.Namespace) -> int:
    from m3it_jax import tokenizer
    from m3it_jax.analysis import token_cost

    names = args.names or [token_cost.name_of(path) for path in args.tokenizers]
    if len(names) != len(args.tokenizers) or len(set(names)) != len(names):
        raise errors.ConfigError("--names: give one for each tokenizer, no two alike")
    for option, path in (("--svg", args.svg), ("--page", args.page), ("--json", args.json)):
        if path:
            options.check_file(path, option=option)
    vocabularies = {name: tokenizer.Tokenizer.load(path) for name, path in zip(names, args.tokenizers, strict=True)}
    lines = {each.code: _lines(args, each) for each in languages.M3IT_80}
    costs = {
        name: {code: token_cost.cost(vocabulary, text) if text else None for code, text in lines.items()}
        for name, vocabulary in vocabularies.items()
    }
    table = token_cost.markdown(costs)
    if args.page:
        try:
            before = args.page.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise errors.UserError(f"--page {args.page}: cannot be read ({error})") from error
        options.write_text(args.page, token_cost.page(before, table), option="--page")
    if args.svg:
        options.write_text(args.svg, token_cost.plot(costs), option="--svg")
    if args.json:
        options.write_json(args.json, token_cost.told(costs))
    print(table, end="")
    return 0


def _lines(args: argparse.Namespace, language: languages.Language) -> list[str]:
    from m3it_jax.analysis import token_cost
    from m3it_jax.dataset_building.translation import selection

    if args.texts is None:
        return token_cost.texts(language)
    return selection.sentences(args.texts, language, args.split)
