"""`m3it radar`: which evaluated records stand in the training data too, and the scores without them."""

import argparse
import pathlib
from typing import TYPE_CHECKING, Any

from m3it_jax import errors, schema
from m3it_jax.cli import options

if TYPE_CHECKING:
    from m3it_jax import records

EXAMPLE = "m3it radar data/m3it-mini --scores runs/quickstart/stage2/eval/1100 --planted 200 --json radar.json"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the verb."""
    parser.add_argument("train", type=pathlib.Path, help="data folder that was trained on")
    parser.add_argument("evaluated", type=pathlib.Path, nargs="?", help="data folder evaluated on (default: the same)")
    parser.add_argument("--split", choices=schema.SPLITS, default="test", help="evaluated records (default: test)")
    parser.add_argument(
        "--train-split", choices=schema.SPLITS, default="train", help="records trained on (default: train)"
    )
    parser.add_argument(
        "--scores", type=pathlib.Path, metavar="EVAL", help="folder of m3it eval: its scores on clean and dirty records"
    )
    parser.add_argument(
        "--ngram", type=options.positive, metavar="N", help="equal words in a row that make a text dirty (default: 8)"
    )
    parser.add_argument(
        "--embeddings",
        type=pathlib.Path,
        nargs="+",
        default=[],
        metavar="NPZ",
        help="NumPy files with `ids` of records and their `vectors`, of both folders",
    )
    parser.add_argument(
        "--similarity", type=options.share, metavar="X", help="least cosine of embeddings that is dirty (default: 0.95)"
    )
    parser.add_argument(
        "--planted", type=options.positive, metavar="N", help="measure recall on changed copies of N training pictures"
    )
    options.add_limit(parser)
    options.add_json(parser)


def run(args: argparse.Namespace) -> int:
    """Looks, prints the table and returns 0.

    Raises:
      UserError: a folder or a file cannot be read.
    """
    from m3it_jax import records
    from m3it_jax.evaluation import contamination, output, picture_hashes, planted, tasks

    train = records.DataFolder.open(args.train)
    evaluated = records.DataFolder.open(args.evaluated or args.train)
    if train.path == evaluated.path and args.split == args.train_split:
        raise errors.ConfigError(f"--split {args.split}: is what was trained on; name another split or folder")
    if args.json:
        options.check_file(args.json, option="--json")
    given = {"ngram": args.ngram, "similarity": args.similarity, "limit": args.limit}
    settings = contamination.Settings(**{name: value for name, value in given.items() if value is not None})
    vectors: dict[str, Any] = {}
    for path in args.embeddings:
        vectors |= contamination.load_embeddings(path)
    for folder, split in ((train, args.train_split), (evaluated, args.split)):
        _check_split(folder, split)
    radar = contamination.Radar(contamination.stream(evaluated, args.split, settings.limit), settings)
    sources: dict[str, str] = {}
    firsts: dict[bytes, None] = {}

    def training():
        for instance in contamination.stream(train, args.train_split, settings.limit):
            sources[instance.id] = instance.source
            if args.planted and instance.images and len(firsts) < args.planted:
                firsts[instance.images[0]] = None
            yield instance

    radar.look(training())
    radar.look_at_embeddings(vectors, sources)
    report: dict[str, Any] = {"train": str(train.path), "train_split": args.train_split}
    report |= {"evaluated": str(evaluated.path), "split": args.split}
    report["settings"] = {
        "distance": picture_hashes.DISTANCE,
        "correlation": picture_hashes.CORRELATION,
        "ngram": settings.ngram,
        "similarity": settings.similarity,
    }
    report |= radar.report()
    if args.planted:
        report["recall"], report["false_alarms"] = planted.recall(list(firsts), seed=0)
    if args.scores:
        store = output.EvalFolder(args.scores)
        report["scores"] = contamination.part_scores(store, radar, protocol=tasks.Protocol(split=args.split))
    if args.json:
        options.write_json(args.json, report)
    print(contamination.table(report))
    return 0


def _check_split(folder: "records.DataFolder", split: str) -> None:
    if not any(info.splits.get(split) for info in folder.sources.values()):
        raise errors.UserError(f"{folder.path}: split {split!r} has no record; build the data folder again")
