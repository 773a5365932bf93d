"""Does stage 1 earn its place? Stage 1 then stage 2, against stage 2 from the towers for the same number of steps.

    python benchmarks/stage_one.py --data runs/quickstart/data --out runs/stage_one

Three seeds each, the recipes of `configs/stage1_align.py:mini` and `configs/stage2_instruct.py:mini`. Writes
benchmarks/results/stage_one.json: for each evaluation row the mean score of either way and the differences over seeds;
`python benchmarks/render.py` puts it into docs/evaluation.md. Safe to run again: finished runs are kept.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys

import harness

SEEDS = (0, 1, 2)
PARTS = ("vit", "qformer", "decoder")
COLUMNS = [
    ("task", "task", ""),
    ("both", "stage 1, then stage 2", ".1f"),
    ("alone", "stage 2 alone", ".1f"),
    ("difference.median", "difference, median", "+.1f"),
    ("difference.min", "least", "+.1f"),
    ("difference.max", "most", "+.1f"),
]


def m3it(*arguments: str) -> None:
    """Runs one verb and stops everything if it fails."""
    subprocess.run([sys.executable, "-m", "m3it_jax", *arguments], check=True, cwd=harness.ROOT)


def train_both(data: str, out: pathlib.Path, *, seed: int, steps: tuple[int, int]) -> dict[str, pathlib.Path]:
    """Trains the two ways for one seed; returns {name: run folder of its stage 2}."""
    common = [f"--data.path={data}", f"--seed={seed}"]
    first, second = steps
    one, two, alone = (out / f"seed{seed}" / name for name in ("stage1", "stage2", "alone"))
    warmup = f"--optimizer.warmup_steps={min(30, first)}"
    m3it("train", "configs/stage1_align.py:mini", "--run-dir", str(one), *common, f"--num_steps={first}", warmup)
    both = ["train", "configs/stage2_instruct.py:mini"]
    m3it(*both, "--run-dir", str(two), *common, f"--num_steps={second}", f"--init_from.all={one}")
    towers = [f"--init_from.{part}=package:mini" for part in PARTS]
    m3it(*both, "--run-dir", str(alone), *common, f"--num_steps={first + second}", *towers)
    return {"both": two, "alone": alone}


def evaluate(run: pathlib.Path, data: str, limit: int | None) -> dict[str, float]:
    """Returns {evaluation row: headline score} on the test split, without controls."""
    target = run / "study.json"
    if not target.exists():
        extra = ["--limit", str(limit)] if limit else []
        m3it("eval", str(run), "--data", data, "--json", str(target), *extra)
    tasks = json.loads(target.read_text("utf-8"))["tasks"]
    return {name: next(iter(metrics.values()))["value"] for name, metrics in tasks.items()}


def main() -> None:
    """Trains, evaluates and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--steps", type=int, nargs=2, default=(300, 700), metavar=("STAGE1", "STAGE2"))
    parser.add_argument("--limit", type=int, help="records of each evaluation row (default: all)")
    args = parser.parse_args()
    machine = harness.machine()
    scores: dict[str, dict[int, dict[str, float]]] = {}
    for seed in SEEDS:
        for name, run in train_both(args.data, args.out.absolute(), seed=seed, steps=tuple(args.steps)).items():
            scores.setdefault(name, {})[seed] = evaluate(run, args.data, args.limit)
    with_stage, alone = scores["both"], scores["alone"]
    rows = []
    for row in with_stage[SEEDS[0]]:
        differences = [with_stage[seed][row] - alone[seed][row] for seed in SEEDS]
        means = {name: statistics.mean(runs[seed][row] for seed in SEEDS) for name, runs in scores.items()}
        rows.append({"task": row, **means, "difference": harness.spread(differences), "runs": differences})
    first, second = args.steps
    harness.finish(
        "stage_one",
        machine=machine,
        references={"seeds": len(SEEDS), "steps of stage 1": first, "steps of stage 2": second},
        columns=COLUMNS,
        rows=rows,
    )


if __name__ == "__main__":
    main()
