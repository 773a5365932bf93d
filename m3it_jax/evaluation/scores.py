"""Predictions -> scores with intervals, beside those of the controls; no model and no data needed.

    {"tasks": {TASK: {METRIC: {"value", "n", "low", "high", "controls": {"blank": y, ...},
                               "control_intervals": {"blank": [low, high], ...}}}},
     "families": {FAMILY: {"metric": headline metric, "skills": [...], "beats": {"blank": true, ...}}},
     "lock": {...}}

TASK is a skill or a family (all records of its skills together). Values run from 0 to 100.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from m3it_jax.evaluation import controls, output, tasks


def score(store: output.EvalFolder, protocol: tasks.Protocol) -> dict[str, Any]:
    """Returns the scores of all predictions of an evaluation folder.

    Args:
      store: The folder.
      protocol: Its resamples, confidence and seed are used.

    Raises:
      UserError: the predictions or the lock are damaged.
    """
    rows = store.predictions()
    scores: dict[str, Any] = {"tasks": {}, "families": {}, "lock": store.lock()}
    for task, its_rows in _tables(rows):
        scores["tasks"][task.name] = _task_scores(task, its_rows, protocol)
    for family in tasks.FAMILIES:
        entry = scores["tasks"].get(family.name)
        if entry:
            headline = next(iter(entry))
            scores["families"][family.name] = {
                "metric": headline,
                "skills": sorted({row["skill"] for row in rows if row["family"] == family.name}),
                "beats": beats(entry[headline]),
            }
    return scores


def beats(entry: Mapping[str, Any]) -> dict[str, bool]:
    """Returns for each control of a score whether the score's interval lies above the control's."""
    return {name: bool(entry["low"] > high) for name, (_, high) in entry["control_intervals"].items()}


def _tables(rows: Sequence[Mapping[str, Any]]) -> Iterable[tuple[tasks.EvalTask, list[Mapping[str, Any]]]]:
    """Yields each skill and then each family that has rows, with its rows."""
    skills: dict[str, list[Mapping[str, Any]]] = {}
    families: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        skills.setdefault(row["skill"], []).append(row)
        families.setdefault(row["family"], []).append(row)
    known = [task.name for task in tasks.SKILLS if task.name in skills]
    for name in known + sorted(set(skills) - set(known)):
        first = skills[name][0]
        yield tasks.skill_task(name, family=first["family"], language=first["language"]), skills[name]
    for family in tasks.FAMILIES:
        if family.name in families:
            yield family, families[family.name]


def _task_scores(task: tasks.EvalTask, rows: Sequence[Mapping[str, Any]], protocol: tasks.Protocol) -> dict[str, Any]:
    by_variant: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        by_variant.setdefault(row["variant"], []).append(row)
    resamples = controls.Resamples(
        [row["group"] for row in rows],
        seed=protocol.seed,
        resamples=protocol.resamples,
        confidence=protocol.confidence,
    )
    scored: dict[str, Any] = {}
    for metric in task.metrics:
        found = {variant: _variant(metric, by_variant[variant], resamples) for variant in by_variant}
        if controls.OWN not in found:
            continue
        name, value, (low, high) = found[controls.OWN]
        present = [variant for variant in controls.CONTROLS if variant in found]
        scored[name] = {
            "value": value,
            "n": len(by_variant[controls.OWN]),
            "low": low,
            "high": high,
            "controls": {variant: found[variant][1] for variant in present},
            "control_intervals": {variant: list(found[variant][2]) for variant in present},
        }
    return scored


def _variant(
    metric: tasks.Metric, rows: Sequence[Mapping[str, Any]], resamples: controls.Resamples
) -> tuple[str, float, tuple[float, float]]:
    """Returns the metric's name, its mean over the rows and the interval of the mean."""
    single = [metric([row["references"]], [row["prediction"]]) for row in rows]
    (name,) = single[0]
    values = [result[name] for result in single]
    return name, sum(values) / len(values), resamples.interval(values, [row["group"] for row in rows])
