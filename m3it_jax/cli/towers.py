"""`m3it towers`: pre-training runs -> the towers that ship with the package."""

import argparse
from pathlib import Path

from m3it_jax.cli import options

EXAMPLE = "m3it towers --vit runs/vit --qformer runs/qformer_captions --decoder runs/decoder --out OUT"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    for part in ("vit", "qformer", "decoder"):
        parser.add_argument(f"--{part}", type=Path, required=True, metavar="RUN", help=f"last run of the {part}")
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Packs the runs and prints the card's path."""
    from m3it_jax.analysis import tower_card

    options.check_folder(args.out, option="--out")
    if args.json:
        options.check_file(args.json, option="--json")
    card = tower_card.pack({part: getattr(args, part) for part in tower_card.PARTS}, args.out)
    if args.json:
        options.write_json(args.json, card)
    print(args.out / "README.md")  # noqa: T201
    return 0
