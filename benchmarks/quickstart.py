"""Takes the scores and times of a finished quick start as the figures of record.

    python benchmarks/quickstart.py --run runs/quickstart

Writes benchmarks/results/quickstart.json; `python benchmarks/render.py` puts it into docs/evaluation.md.
"""

import argparse
import json
import pathlib

import harness

from m3it_jax.evaluation import controls

COLUMNS = [
    ("task", "task", ""),
    ("metric", "metric", ""),
    ("n", "n", ""),
    ("value", "score", ".1f"),
    ("interval", "95 % interval", ""),
    *((name, name, "") for name in controls.CONTROLS),
]


def main() -> None:
    """Reads the run folder and writes the JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--run", type=pathlib.Path, required=True, help="finished quick-start folder")
    run = parser.parse_args().run
    folder = max((run / "stage2" / "eval").iterdir(), key=lambda path: int(path.name))
    scores = json.loads((folder / "scores.json").read_text("utf-8"))
    phases = json.loads((run / "phases.json").read_text("utf-8"))
    rows = []
    for task, metrics in scores["tasks"].items():
        metric, score = next(iter(metrics.items()))
        others = {name: f"{score['controls'][name]:.1f}" for name in controls.CONTROLS}
        interval = f"{score['low']:.1f} to {score['high']:.1f}"
        task = f"**{task}**" if task in scores["families"] else task
        rows.append({"task": task, "metric": metric, **score, "interval": interval, **others})
    harness.finish(
        "quickstart",
        machine=harness.machine(),
        references={f"{phase['phase']}, s": phase["seconds"] for phase in phases},
        columns=COLUMNS,
        rows=rows,
    )


if __name__ == "__main__":
    main()
