"""`m3it repair`: copy every sound record of a damaged data folder and list the lost ones."""

import argparse
import pathlib
import sys

from m3it_jax import errors
from m3it_jax.cli import building, options

EXAMPLE = "m3it repair data/m3it --out data/m3it-repaired --json lost.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the verb."""
    parser.add_argument("data", type=pathlib.Path, help="data folder")
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder of the copy")
    parser.add_argument("--jobs", type=options.positive, help="worker processes (default: one for each core)")
    options.add_json(parser)
    options.add_dry_run(parser)


def run(args: argparse.Namespace) -> int:
    """Copies what is sound, prints what is lost, and returns the exit code.

    Raises:
      UserError: there is no data folder, nothing of it can be read, or OUT cannot be written.
    """
    from m3it_jax.dataset_building.rewriting import repair
    from m3it_jax.dataset_building.writing import rejections

    if not args.data.is_dir():
        raise errors.UserError(f"{args.data}: is no folder; give a data folder")
    if args.json:
        options.check_file(args.json, option="--json")
    order, lost = repair.order(args.data, args.out)
    if args.dry_run:
        for spec in order.specs:
            print(f"{spec.name}: would be copied")
        print(f"nothing was written to {args.out}", file=sys.stderr)
        return 0
    options.check_folder(args.out, option="--out")
    manifest = building.build(order, args.jobs)
    rows = [{"source": name, "place": name, "reason": "damaged", "text": "nothing can be read"} for name in lost]
    for name, source in manifest["sources"].items():
        rows += [{"source": name, **line} for line, _ in rejections.read(args.out / name / source["version"])]
    if args.json:
        options.write_json(args.json, {"lost": rows, "manifest": manifest})
    for row in rows:
        print(f"lost: {row['source']}, {row['place']}: {row['reason']} ({row['text']})")
    options.print_manifest(manifest, args.out)
    return 0
