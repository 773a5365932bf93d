"""`m3it ablate tasks|instructions CONFIG`: the paper's two curves as one command."""

import argparse
import contextlib
import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from m3it_jax import errors, file_safety, schema
from m3it_jax.cli import configuration, main, options

if TYPE_CHECKING:
    from m3it_jax import records
    from m3it_jax.config import Experiment

EXAMPLE = """m3it ablate tasks configs/stage2_instruct.py:mini --run-dir runs/tasks --data.path=data/m3it-mini \\
      --init_from.all=runs/stage1 --seeds 0 1 2
  m3it ablate instructions configs/stage2_instruct.py:mini --run-dir runs/instructions --counts 1 2 4 8"""
TAKES_OVERRIDES = True


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the options."""
    parser.add_argument(
        "kind", choices=("tasks", "instructions"), help="what there is less of: sources, or instructions"
    )
    parser.add_argument("config", metavar="CONFIG", help="a file under configs/, with :PRESET if it has presets")
    parser.add_argument(
        "--run-dir", type=Path, required=True, metavar="DIR", help="folder of the study; the same command goes on there"
    )
    parser.add_argument(
        "--counts",
        type=options.count,
        nargs="+",
        metavar="N",
        help="tasks (default: 0 4 8 16 27) or instructions a task (default: 1 2 4 8), as far as there are so many",
    )
    parser.add_argument("--seeds", type=options.count, nargs="+", default=[0], metavar="N", help="seeds (default: 0)")
    parser.add_argument("--eval-data", type=Path, metavar="DATA", help="data folder evaluated on (default: data.path)")
    parser.add_argument(
        "--tasks", nargs="+", default=[], metavar="TASK", help="skills or families evaluated (default: all)"
    )
    parser.add_argument("--split", choices=schema.SPLITS, help="records evaluated on (default: test)")
    parser.add_argument("--suite", metavar="CONFIG", help="evaluate by a suite, as configs/eval_paper.py")
    options.add_limit(parser)
    options.add_json(parser)
    options.add_dry_run(parser)


@dataclasses.dataclass(frozen=True)
class _Run:
    """One run of a study: where it lies, and the options that make it.

    `trains` is False for the model that training begins from.
    """

    count: int
    seed: int
    place: Path
    names: Any
    overrides: tuple[str, ...]
    trains: bool = True


def run(args: argparse.Namespace) -> int:
    """Trains and evaluates every run that is not finished, writes the study and its plot; returns the exit code.

    Raises:
      UserError: the configuration, the data or a count is wrong.
    """
    from m3it_jax import records
    from m3it_jax.analysis import ablation

    config = configuration.load(args.config, args.overrides)
    folder = records.DataFolder.open(config.data.path)
    if args.json:
        options.check_file(args.json, option="--json")
    runs = _runs(args, config, folder)
    if args.dry_run:
        for one in runs:
            print(f"{one.place}: seed {one.seed}, {one.count} {args.kind}")
        print(f"{len(runs)} runs of {config.num_steps} steps; nothing was written", file=sys.stderr)
        return 0
    points: list[dict[str, Any]] = []
    with file_safety.held(args.run_dir, doing="an ablation", instead="--run-dir"):
        for number, one in enumerate(runs, start=1):
            print(f"run {number} of {len(runs)}: {one.count} {args.kind}, seed {one.seed}", file=sys.stderr)
            code = _made(args, config, folder, one=one)
            if code:
                return code
            found = json.loads((one.place / "scores" / "scores.json").read_text("utf-8"))
            scores = ablation.task_scores(found)
            points.append(
                {
                    "count": one.count,
                    "seed": one.seed,
                    "run": str(one.place),
                    "names": one.names,
                    "scores": scores,
                    "mean": sum(scores.values()) / len(scores),
                }
            )
            study = {"kind": args.kind, "budget": config.num_steps, "unit": "source", "seeds": sorted(set(args.seeds))}
            study |= {"counts": sorted({point["count"] for point in points}), "points": points}
            study |= ablation.summary(args.kind, points)
            options.write_json(args.run_dir / "ablation.json", study)
            file_safety.write_whole(args.run_dir / "curve.svg", ablation.plot(study))
    if args.json:
        options.write_json(args.json, study)
    print(ablation.table(study))
    print(f"written to {args.run_dir / 'ablation.json'} and {args.run_dir / 'curve.svg'}", file=sys.stderr)
    return 0


def _runs(args: argparse.Namespace, config: "Experiment", folder: "records.DataFolder") -> list[_Run]:
    from m3it_jax.analysis import ablation

    weights = _weights(config, folder)
    pools = {name: folder.sources[name].instructions for name in weights}
    most = len(weights) if args.kind == "tasks" else max(map(len, pools.values()))
    counts = ablation.counts_for(args.kind, args.counts, most)
    if 0 in counts and "all" not in config.init_from:
        if args.counts:
            raise errors.ConfigError("--counts 0: is the model that training begins from; give --init_from.all=RUN")
        print(
            "without 0 tasks, which is the model that training begins from: give --init_from.all=RUN", file=sys.stderr
        )
        counts.remove(0)
    runs = []
    for seed in dict.fromkeys(args.seeds):
        for count in counts:
            place = args.run_dir / f"seed{seed}" / f"{args.kind}{count}"
            overrides = [f"--seed={seed}"]
            if args.kind == "instructions":
                overrides += [f"--data.path={place / 'data'}", "--data.redraw_instructions=true"]
                names: Any = {name: ablation.subset(pool, count, seed=seed) for name, pool in pools.items()}
            else:
                names = ablation.subset(list(weights), count, seed=seed)
                mixture = json.dumps({name: weights[name] for name in names})
                overrides.append(f"--data.mixture={mixture}")
            runs.append(_Run(count, seed, place, names, tuple(overrides), trains=count > 0))
    return runs


def _weights(config: "Experiment", folder: "records.DataFolder") -> dict[str, float]:
    """Returns {source: weight} of the whole mixture; by size where the configuration leaves it open."""
    from m3it_jax import config as config_lib

    if config.data.mixture:
        return {name: weight for name, weight in config.data.mixture.items() if weight}
    all_of_them = config.data.train_on_held_out
    sizes = {name: info.splits.get(config.data.split, 0) for name, info in folder.sources.items()}
    found = {
        name: float(size) for name, size in sizes.items() if size and (all_of_them or not config_lib.is_held_out(name))
    }
    if not found:
        raise errors.UserError(f"{folder.path}: split {config.data.split!r} has no record; build the data folder again")
    return found


def _made(args: argparse.Namespace, config: "Experiment", folder: "records.DataFolder", *, one: _Run) -> int:
    """Trains and evaluates one run, as far as that is not done, and returns the exit code."""
    from m3it_jax.analysis import ablation

    if one.trains:
        if args.kind == "instructions":
            ablation.fewer_instructions(folder, one.place / "data", count=one.count, seed=one.seed)
        train = ["train", args.config, "--run-dir", str(one.place / "run"), *args.overrides, *one.overrides]
        if code := main.main(train):
            return code
    checkpoint = one.place / "run" if one.trains else Path(config.init_from["all"])
    data = args.eval_data or config.data.path
    evaluate = ["eval", str(checkpoint), "--data", str(data), "--out", str(one.place / "scores")]
    for option, values in _evaluation(args).items():
        if values and values[0] is not None:
            evaluate += [option, *map(str, values)]
    with contextlib.redirect_stdout(sys.stderr):  # stdout is for the study
        return main.main(evaluate)


def _evaluation(args: argparse.Namespace) -> dict[str, list[Any]]:
    return {"--tasks": args.tasks, "--suite": [args.suite], "--split": [args.split], "--limit": [args.limit]}
