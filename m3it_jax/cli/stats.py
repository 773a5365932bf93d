"""`m3it stats`: count the contents of a data folder."""

import argparse
import pathlib

from m3it_jax.cli import options

EXAMPLE = "m3it stats data/m3it-mini --html stats.html"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the verb."""
    parser.add_argument("data", type=pathlib.Path, help="data folder")
    parser.add_argument("--html", type=pathlib.Path, metavar="FILE", help="write one self-contained page to FILE")
    parser.add_argument(
        "--licences", action="store_true", help="show the licences of the records, without reading them"
    )
    options.add_limit(parser)
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Prints a table of every source and split and returns the exit code.

    Raises:
      UserError: the data folder cannot be read, or FILE's folder does not exist.
    """
    from m3it_jax import progress, records
    from m3it_jax.analysis import data_report
    from m3it_jax.dataset_building.inspection import statistics

    folder = records.DataFolder.open(args.data)
    for option, path in (("--json", args.json), ("--html", args.html)):
        if path:
            options.check_file(path, option=option)
    if args.licences:
        told = statistics.licence_report(folder.manifest)
        if args.json:
            options.write_json(args.json, told)
        print(statistics.licence_table(told))
        return 0
    tables = {
        (source, split): folder.table(source, split) for source, info in folder.sources.items() for split in info.splits
    }
    counts = {key: min(len(table), args.limit or len(table)) for key, table in tables.items()}
    result: dict[str, dict[str, dict]] = {}
    with progress.Progress(sum(counts.values()), "records") as shown:
        for (source, split), table in tables.items():
            collector = statistics.Collector()
            for number in range(counts[source, split]):
                collector.add(table.read(number))
                shown.update()
            result.setdefault(source, {})[split] = collector.summary()
    report = statistics.report(folder.manifest, result)
    if args.json:
        options.write_json(args.json, report)
    if args.html:
        options.write_text(args.html, data_report.render(report), option="--html")
    print(statistics.table(report))
    return 0
