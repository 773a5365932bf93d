"""Sets of evaluations that are made together -> the rows to ask, and one table with the published figures beside ours.

    {"name", "citation", "rows": [{"source", "table", "split", "held_out", "trained_on", "metric", "n", "value", "low",
                                   "high", "published": {SYSTEM: figure}}], "means": {LABEL: value}}

`n` is 0 and `value` None in a row whose source was not there; a mean is None if one of its rows is.
"""

import dataclasses
from collections.abc import Collection, Mapping
from typing import Any

from m3it_jax import config, errors
from m3it_jax.evaluation import m3it_tasks, tasks

# Fields of `config.EvalRow` that stand in for those of the table.
_FIELDS = ("split", "prompt", "references", "postprocess", "metrics")

NOT_MEASURED = "not measured here: needs the public weights and data"


def resolved(suite: config.EvalSuite) -> dict[str, tasks.EvalTask]:
    """Returns {source: its row of the table of tasks, changed where the suite says so}.

    Raises:
      ConfigError: the suite is empty, names a source that is no one of M3IT's or twice, or a value is not allowed.
    """
    rows: dict[str, tasks.EvalTask] = {}
    for row in suite.rows:
        if row.source not in m3it_tasks.BY_NAME:
            known = ", ".join(m3it_tasks.BY_NAME)
            raise errors.ConfigError(f"suite {suite.name}: source {row.source!r}: must be one of {known}")
        if row.source in rows:
            raise errors.ConfigError(f"suite {suite.name}: source {row.source!r} stands twice; keep one row")
        changed = {name: getattr(row, name) for name in _FIELDS if getattr(row, name)}
        rows[row.source] = dataclasses.replace(m3it_tasks.BY_NAME[row.source], **changed)
    if not rows:
        raise errors.ConfigError(f"suite {suite.name}: has no rows; add a config.EvalRow")
    for label, sources in suite.means.items():
        for source in sources:
            if source not in rows:
                raise errors.ConfigError(f"suite {suite.name}: means[{label!r}]: {source!r} has no row in the suite")
    return rows


def result(suite: config.EvalSuite, scores: Mapping[str, Any], *, trained_on: Collection[str] = ()) -> dict[str, Any]:
    """Returns the suite's rows with their scores, as above.

    Args:
      suite: The suite.
      scores: As `scores.score` returns them.
      trained_on: Sources that the model was trained on, as far as its run folder says.
    """
    rows = []
    for row, task in zip(suite.rows, resolved(suite).values(), strict=True):
        entry = scores["tasks"].get(row.source) or {}
        metric = next(iter(entry), task.metrics[0])
        score: Mapping[str, Any] = entry.get(metric, {})
        rows.append(
            {
                "source": row.source,
                "table": row.table,
                "split": task.split,
                "held_out": m3it_tasks.is_held_out(row.source),
                "trained_on": row.source in trained_on,
                "metric": metric,
                "n": score.get("n", 0),
                **{name: score.get(name) for name in ("value", "low", "high")},
                "published": dict(row.published),
            }
        )
    values = {row["source"]: row["value"] for row in rows}
    means = {}
    for label, sources in suite.means.items():
        found = [values[source] for source in sources]
        means[label] = None if None in found else sum(found) / len(found)
    return {"name": suite.name, "citation": suite.citation, "rows": rows, "means": means}


def table(found: Mapping[str, Any]) -> str:
    """Returns a suite's result as text: ours with its interval, then the figure of each published system."""
    systems = list(dict.fromkeys(system for row in found["rows"] for system in row["published"]))
    lines, heading = [], None
    width = max(24, *(len(row["source"]) for row in found["rows"]))
    for row in found["rows"]:
        if row["table"] != heading:
            heading = row["table"]
            own = [system for system in systems if any(system in r["published"] for r in _of(found, heading))]
            names = "  ".join(f"{system:>{max(7, len(system))}}" for system in own)
            lines += ["", f"{heading:<{width}}" if heading else "", f"{'':<{width}}  {'ours':<26}  {names}".rstrip()]
        figures = "  ".join(f"{_figure(row['published'].get(name)):>{max(7, len(name))}}" for name in own)
        lines.append(f"{row['source']:<{width}}  {_ours(row):<26}  {figures}".rstrip())
    for label, value in found["means"].items():
        lines.append(f"{label}: {NOT_MEASURED if value is None else f'{value:.1f}'}")
    if any(row["published"] for row in found["rows"]):
        lines.append(f"figures of systems: {found['citation']}; they were not measured here")
    lacking = [row["source"] for row in found["rows"] if not row["n"]]
    if lacking:
        lines.append(f"- in the column ours: {NOT_MEASURED}: {', '.join(lacking)}")
    for row in found["rows"]:
        if row["held_out"] and row["trained_on"]:
            lines.append(f"{row['source']}: the model was trained on it, so this is no zero-shot test")
    return "\n".join(lines).lstrip("\n")


def _of(found: Mapping[str, Any], heading: str) -> list[Mapping[str, Any]]:
    return [row for row in found["rows"] if row["table"] == heading]


def _ours(row: Mapping[str, Any]) -> str:
    if not row["n"]:
        return "-"
    return f"{row['value']:.1f} [{row['low']:.1f}, {row['high']:.1f}] ({row['metric']}, {row['n']})"


def _figure(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
