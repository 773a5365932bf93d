"""The paper's two curves, made again: nested subsets by seed, the curve with intervals over seeds, and its plot.

{"kind", "budget": steps of each run, "unit", "seeds", "counts",
 "points": [{"count", "seed", "run", "names": tasks (or {source: instructions}), "scores": {TASK: value}, "mean"}],
 "curve": [{"count", "n": seeds, "mean", "low", "high"}],          over seeds, of the mean over tasks
 "spread": standard deviation between seeds at one count, pooled; None with one seed,
 "seeds_needed": [{"difference", "seeds"}],                        per count, to find it in 80 % of studies
 "paper": {count: mean}}
"""

import itertools
import json
import math
import os
import pathlib
import statistics
from collections.abc import Mapping, Sequence
from typing import Any

from m3it_jax import errors, records, rng
from m3it_jax.analysis import charts

KINDS = ("tasks", "instructions")

# arXiv 2306.04387, section 4.3 and Figures 5 and 6: the counts, and the plotted average of the three knowledge sets,
# read from the curves to about 0.05. One run each.
COUNTS = {"tasks": (0, 4, 8, 16, 27), "instructions": (1, 2, 4, 8)}
PAPER: Mapping[str, Mapping[int, float]] = {
    "tasks": {0: 15.4, 4: 18.9, 8: 19.3, 16: 22.7, 27: 27.8},
    "instructions": {1: 26.4, 2: 26.0, 4: 29.7, 8: 23.3},
}

# Student's t, 97.5 %, for 1 to 10 degrees of freedom; beyond, the normal distribution's is near enough.
_T = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
_DIFFERENCES = (0.5, 1.0, 2.0, 3.0, 5.0, 10.0)
_POWER = 0.8


def subset(names: Sequence[str], count: int, *, seed: int) -> list[str]:
    """Returns `count` of the names: the first of one permutation a seed, so that smaller subsets lie in larger ones."""
    ordered = sorted(names, key=lambda name: rng.fold(seed, "ablate", name))
    kept = set(ordered[:count])
    return [name for name in names if name in kept]


def counts_for(kind: str, wanted: Sequence[int] | None, most: int) -> list[int]:
    """Returns the counts of a study: those wanted, else the paper's as far as there are so many, and all there are.

    Raises:
      ConfigError: a wanted count is above what there is.
    """
    if wanted:
        for count in wanted:
            if count > most or (count < 1 and kind == "instructions"):
                least = 1 if kind == "instructions" else 0
                raise errors.ConfigError(f"--counts {count}: must be from {least} to {most}, the {kind} that there are")
        return sorted(set(wanted))
    return sorted({count for count in COUNTS[kind] if count < most} | {most})


def fewer_instructions(folder: records.DataFolder, out: pathlib.Path, *, count: int, seed: int) -> dict[str, list[str]]:
    """Makes a data folder whose pools hold `count` instructions each: a manifest of its own, all else linked.

    Training draws an instruction from the pool in each epoch, so it meets these alone; a record that none of them suits
    keeps its own.

    Args:
      folder: The data.
      out: Where the folder is made; what it holds already is replaced.
      count: Instructions of each source, or all if it has fewer.
      seed: Of the choice.

    Returns:
      {source: its instructions}.
    """
    out.mkdir(parents=True, exist_ok=True)
    manifest = json.loads((folder.path / records.MANIFEST).read_text("utf-8"))
    kept = {}
    for name, source in manifest["sources"].items():
        source["instructions"] = kept[name] = subset(source["instructions"], count, seed=seed)
    for path in sorted(folder.path.iterdir()):
        link = out / path.name
        if path.name != records.MANIFEST and not os.path.lexists(link):
            link.symlink_to(path.resolve())
    (out / records.MANIFEST).write_text(json.dumps(manifest, ensure_ascii=False, indent=2) + "\n", "utf-8")
    return kept


def task_scores(scores: Mapping[str, Any]) -> dict[str, float]:
    """Returns {skill: its headline} of scores.json."""
    return {name: scores["tasks"][name][entry["metric"]]["value"] for name, entry in scores["skills"].items()}


def summary(kind: str, points: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Returns `curve`, `spread`, `seeds_needed` and `paper` as above.

    Args:
      kind: One of `KINDS`.
      points: Finished runs.
    """
    by_count = {
        count: [point["mean"] for point in group]
        for count, group in itertools.groupby(sorted(points, key=lambda p: p["count"]), key=lambda p: p["count"])
    }
    curve = []
    for count, values in by_count.items():
        low, high = _interval(values)
        curve.append({"count": count, "n": len(values), "mean": statistics.fmean(values), "low": low, "high": high})
    freedom = sum(len(values) - 1 for values in by_count.values())
    squares = sum(sum((value - statistics.fmean(values)) ** 2 for value in values) for values in by_count.values())
    spread = math.sqrt(squares / freedom) if freedom else None
    needed = [] if spread is None else [{"difference": d, "seeds": seeds_needed(d, spread)} for d in _DIFFERENCES]
    return {"curve": curve, "spread": spread, "seeds_needed": needed, "paper": dict(PAPER[kind])}


def _interval(values: Sequence[float]) -> tuple[float | None, float | None]:
    """Returns Student's 95 % interval of the mean over seeds; none with one seed."""
    if len(values) < 2:
        return None, None
    t = _T[len(values) - 2] if len(values) - 2 < len(_T) else 1.96
    half = t * statistics.stdev(values) / math.sqrt(len(values))
    return statistics.fmean(values) - half, statistics.fmean(values) + half


def seeds_needed(difference: float, spread: float) -> int:
    """Returns the seeds a count needs to find a true difference of two counts in 80 % of studies, at the 5 % level.

    Normal approximation: n = 2 (z_0.975 + z_0.8)^2 spread^2 / difference^2, at least 2.
    """
    normal = statistics.NormalDist()
    z = normal.inv_cdf(0.975) + normal.inv_cdf(_POWER)
    return max(2, math.ceil(2 * (z * spread / difference) ** 2 - 1e-9))


def table(study: Mapping[str, Any]) -> str:
    """Returns a study as Markdown."""
    lines = [
        f"| {study['kind']} | mean over tasks | 95 % interval over seeds | seeds | the paper's average |",
        "|---|---|---|---|---|",
    ]
    for point in study["curve"]:
        interval = "-" if point["low"] is None else f"{point['low']:.1f} to {point['high']:.1f}"
        paper = study["paper"].get(point["count"])
        told = "-" if paper is None else f"{paper:.1f}"
        lines.append(f"| {point['count']} | {point['mean']:.1f} | {interval} | {point['n']} | {told} |")
    if study["spread"] is None:
        lines += ["", "One seed: nothing says how much of a difference is chance; give --seeds 0 1 2."]
        return "\n".join(lines)
    lines += [
        "",
        f"Standard deviation between seeds: {study['spread']:.2f}.",
        "",
        "| difference | seeds a count |",
        "|---|---|",
    ]
    lines += [f"| {entry['difference']:g} | {entry['seeds']} |" for entry in study["seeds_needed"]]
    return "\n".join(lines)


def plot(study: Mapping[str, Any]) -> str:
    """Returns the curve as an SVG: ours with its intervals, the paper's beside it (another model on other tasks)."""
    ours = study["curve"]
    paper = sorted((int(count), value) for count, value in study["paper"].items())
    xs = [point["count"] for point in ours] + [count for count, _ in paper]
    ys = [value for point in ours for value in (point["mean"], point["low"], point["high"]) if value is not None]
    ys += [value for _, value in paper]
    frame = charts.frame((min(xs), max(xs)), (min(0.0, *ys), max(ys)))
    parts = [charts.axes(frame)]
    for point in ours:
        if point["low"] is not None:
            x = frame.x(point["count"])
            parts.append(
                f'<line x1="{x}" x2="{x}" y1="{frame.y(point["low"])}" y2="{frame.y(point["high"])}" stroke="#06c"/>'
            )
    lines = (
        ("ours, mean over tasks, 95 % interval over seeds", "#06c", "", [(p["count"], p["mean"]) for p in ours]),
        ("arXiv 2306.04387, one run", "#888", ' stroke-dasharray="4 3"', paper),
    )
    for place, (label, colour, dashes, points) in enumerate(lines):
        drawn = " ".join(f"{frame.x(x)},{frame.y(y)}" for x, y in points)
        parts.append(f'<polyline points="{drawn}" fill="none" stroke="{colour}"{dashes}/>')
        parts += [f'<circle cx="{frame.x(x)}" cy="{frame.y(y)}" r="3" fill="{colour}"/>' for x, y in points]
        top = charts.TOP + 8 + 14 * place
        parts.append(f'<text x="{charts.LEFT + 8}" y="{top}" fill="{colour}">{label}</text>')
    return charts.svg(parts, label=f"score by number of {study['kind']}")
