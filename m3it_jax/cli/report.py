"""`m3it report`: one self-contained page over a run."""

import argparse
import pathlib

from m3it_jax.cli import options

EXAMPLE = "m3it report runs/quickstart"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the verb."""
    parser.add_argument("run_dir", metavar="RUN_DIR", type=pathlib.Path, help="run folder or quick-start folder")
    parser.add_argument("--out", metavar="FILE", type=pathlib.Path, help="the page (default: RUN_DIR/report.html)")
    options.add_json(parser)
    options.add_dry_run(parser)


def run(args: argparse.Namespace) -> int:
    """Writes the page, prints its path and returns the exit code.

    Raises:
      UserError: the folder is no run, or one of its files is damaged.
    """
    from m3it_jax.analysis import run_report

    if args.dry_run:
        folders = ", ".join(str(folder) for folder in run_report.run_folders(args.run_dir))
        print(f"would report on {folders} in {args.out or args.run_dir / run_report.REPORT}")
        return 0
    if args.json:
        options.check_file(args.json, option="--json")
    if args.out:
        options.check_folder(args.out.parent, option="--out")
    if args.json:
        options.write_json(args.json, run_report.collect(args.run_dir))
    print(run_report.write(args.run_dir, args.out))
    return 0
