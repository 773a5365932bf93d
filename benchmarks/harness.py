"""What the benchmarks share: cases run in turn, least, median and most of each, one table and one JSON file.

Cores change their speed by up to a factor of two for a minute at a time, so cases that are to be compared run in turn,
again and again, and the best of each is compared with the best of the other.
"""

import contextlib
import importlib.metadata
import json
import os
import pathlib
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parents[1]
RESULTS = ROOT / "benchmarks" / "results"

# The checkout that this file stands in is measured, whatever is installed; programs import this file before m3it_jax.
sys.path.insert(0, str(ROOT))

PACKAGES = ("jax", "flax", "numpy", "pillow", "tensorflow", "tensorflow-cpu")

# (key of a row, heading, format of the value); an empty format prints the value as it is.
Columns = Sequence[tuple[str, str, str]]


def interleave(cases: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """Returns {case: seconds of each repeat}: every case once to warm up, then all of them in turn.

    Args:
      cases: What to time; each function waits until its work is done.
      repeats: Rounds; every second one goes through the cases backwards.
    """
    for case in cases.values():
        case()
    seconds: dict[str, list[float]] = {name: [] for name in cases}
    for number in range(repeats):
        for name in list(cases)[:: -1 if number % 2 else 1]:
            begin = time.perf_counter()
            cases[name]()
            seconds[name].append(time.perf_counter() - begin)
    return seconds


def spread(values: Sequence[float], scale: float = 1.0) -> dict[str, float]:
    """Returns the least, the median and the most of values, each times `scale`."""
    scaled = [value * scale for value in values]
    return {"min": min(scaled), "median": statistics.median(scaled), "max": max(scaled)}


def machine() -> dict[str, Any]:
    """Returns what the figures depend on beside the code, and the code's commit."""
    versions = {}
    for name in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[name] = importlib.metadata.version(name)
    return {
        "cpu": _cpu(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": versions,
        "commit": _git("rev-parse", "--short=12", "HEAD"),
        "uncommitted_changes": bool(_git("status", "--porcelain", "--untracked-files=no", "--", "m3it_jax", "configs")),
        # Above the number of cores, something else was running and the figures are worth little.
        "load_before": round(os.getloadavg()[0], 2),
        "time": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
    }


def _cpu() -> str:
    info = pathlib.Path("/proc/cpuinfo")
    lines = info.read_text("utf-8").splitlines() if info.exists() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return ""
    return done.stdout.strip()


def finish(
    name: str, *, machine: Mapping[str, Any], references: Mapping[str, Any], columns: Columns, rows: Sequence[Any]
) -> None:
    """Prints the table and writes results/NAME.json, from which `render.py` makes the documents.

    Args:
      name: Of the benchmark.
      machine: From `machine()`, taken before the first measurement.
      references: What was measured beside it in the same run: {words with the unit: number}.
      columns: See `Columns`.
      rows: One dict for each line of the table; they may hold more than the columns show.
    """
    result = {
        "name": name,
        "machine": machine,
        "references": references,
        "columns": [list(column) for column in columns],
        "rows": rows,
    }
    RESULTS.mkdir(exist_ok=True)
    (RESULTS / f"{name}.json").write_text(json.dumps(result, indent=1) + "\n", "utf-8")
    print(describe(result))


def describe(result: Mapping[str, Any]) -> str:
    """Returns a result as Markdown: the machine, what was measured beside it, the table."""
    facts = result["machine"]
    versions = ", ".join(f"{name} {version}" for name, version in facts["versions"].items())
    commit = facts["commit"] + (" with uncommitted changes" if facts["uncommitted_changes"] else "")
    lines = [
        f"{facts['cpu']}, {facts['cores']} cores, Python {facts['python']}, {versions}; commit {commit}, "
        f"{facts['time']}, load before the run {facts['load_before']}.",
        "",
        *(f"- {words}: {value:,.4g}" for words, value in result["references"].items()),
        "",
        "| " + " | ".join(heading for _, heading, _ in result["columns"]) + " |",
        "|" + "---|" * len(result["columns"]),
    ]
    for row in result["rows"]:
        lines.append("| " + " | ".join(format(_value(row, key), form) for key, _, form in result["columns"]) + " |")
    return "\n".join(lines)


def _value(row: Mapping[str, Any], key: str) -> Any:
    """Returns row["a"]["b"] for the key `a.b`."""
    value: Any = row
    for name in key.split("."):
        value = value[name]
    return value
