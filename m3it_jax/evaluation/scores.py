"""Predictions -> scores with intervals, beside those of the controls; no model and no data needed.

    {"tasks": {TASK: {METRIC: {"value", "n", "low", "high", "controls": {"blank": y, ...},
                               "control_intervals": {"blank": [low, high], ...}}}},
     "families": {FAMILY: {"metric": headline metric, "skills": [...], "beats": {"blank": true, ...}}},
     "skills": {SKILL: {"metric": headline metric, "beats": {"blank": true, ...}}},
     "coverage": {"answered": questions that the model has answered, "records": those of the split; None if unknown},
     "left_out": {TASK: {CONTROL: number of the model's answers that it has no answer beside}},
     "not_applicable": {TASK: {CONTROL: questions in text alone}}, of the controls that take pictures away
     "metrics_left_out": {TASK: {METRIC: why these answers do not allow it}},
     "lock": {...}}

TASK is a skill or a family (all records of its skills together). Values have the range of their metric, mostly 0 to
100. A control that did not answer the model's questions, each of them, is left out: scores over different questions say
nothing about each other.
A question in text alone has no picture to be taken away: beside others, its own answer stands in those controls; a task
of such questions alone does not have them. `not_applicable` and `metrics_left_out` are there if there are some.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from m3it_jax import metrics
from m3it_jax.evaluation import controls, output, tasks

_Kind = tuple[str, int | None]  # skill and number of pictures: among these a partner is sought


def score(
    store: output.EvalFolder,
    protocol: tasks.Protocol,
    *,
    is_asked: Callable[[Mapping[str, Any]], bool] = lambda row: True,
    num_records: int | None = None,
) -> dict[str, Any]:
    """Returns the scores of the predictions of an evaluation folder.

    Args:
      store: The folder.
      protocol: Its resamples, confidence and seed are used.
      is_asked: Whether a prediction is to be scored; all are by default.
      num_records: Records of the split, to say how many of them were answered.

    Raises:
      UserError: the predictions or the lock are damaged.
    """
    # In the order of the records, so that the order in which answers came does not move the last digit of a sum.
    rows = sorted(filter(is_asked, store.predictions()), key=lambda row: (row["source"], row["number"]))
    answered = sum(row["variant"] == controls.OWN for row in rows)
    coverage = {"answered": answered, "records": num_records}
    scores: dict[str, Any] = {"tasks": {}, "families": {}, "skills": {}, "left_out": {}, "coverage": coverage}
    scores["lock"] = store.lock()
    partnerless = _partnerless(rows)
    for task, its_rows in _tables(rows, protocol):
        by_variant, left_out = _comparable(its_rows, partnerless)
        names, uncomputable = task.computable(by_variant.get(controls.OWN, ()))
        scores["tasks"][task.name] = _task_scores(dataclasses.replace(task, metrics=tuple(names)), by_variant, protocol)
        if uncomputable:
            scores.setdefault("metrics_left_out", {})[task.name] = uncomputable
        if left_out:
            scores["left_out"][task.name] = left_out
        if texts := sum(_is_text(row) for row in by_variant.get(controls.OWN, ())):
            scores.setdefault("not_applicable", {})[task.name] = dict.fromkeys(controls.OF_PICTURES, texts)
    for family in tasks.FAMILIES:
        entry = scores["tasks"].get(family.name)
        if entry:
            headline = next(iter(entry))
            scores["families"][family.name] = {
                "metric": headline,
                "skills": sorted({row["skill"] for row in rows if row["family"] == family.name}),
                "beats": beats(entry[headline]),
            }
    for name, entry in scores["tasks"].items():
        if entry and name not in scores["families"]:
            headline = next(iter(entry))
            scores["skills"][name] = {"metric": headline, "beats": beats(entry[headline])}
    return scores


def beats(entry: Mapping[str, Any]) -> dict[str, bool]:
    """Returns for each control of a score whether the score's interval lies above the control's."""
    return {name: bool(entry["low"] > high) for name, (_, high) in entry["control_intervals"].items()}


def _tables(
    rows: Sequence[Mapping[str, Any]], protocol: tasks.Protocol
) -> Iterable[tuple[tasks.EvalTask, list[Mapping[str, Any]]]]:
    """Yields each skill and then each family that has rows, with its rows."""
    skills: dict[str, list[Mapping[str, Any]]] = {}
    families: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        skills.setdefault(row["skill"], []).append(row)
        families.setdefault(row["family"], []).append(row)
    known = [task.name for task in tasks.SKILLS if task.name in skills]
    for name in known + sorted(set(skills) - set(known)):
        first = skills[name][0]
        yield protocol.task(name, family=first["family"], language=first["language"]), skills[name]
    for family in tasks.FAMILIES:
        if family.name in families:
            yield family, families[family.name]


def _partnerless(rows: Sequence[Mapping[str, Any]]) -> set[_Kind]:
    """Returns the kinds of question that cannot be shuffled: all their pictures show one thing."""
    groups: dict[_Kind, set[str]] = {}
    for row in rows:
        groups.setdefault(_kind(row), set()).add(row["group"])
    shuffled = {_kind(row) for row in rows if row["variant"] == controls.SHUFFLED}
    return {kind for kind, found in groups.items() if len(found) == 1} - shuffled


def _is_text(row: Mapping[str, Any]) -> bool:
    return row.get("num_images") == 0


def _kind(row: Mapping[str, Any]) -> _Kind:
    return row["skill"], row.get("num_images")


def _comparable(
    rows: Sequence[Mapping[str, Any]], partnerless: set[_Kind]
) -> tuple[dict[str, list[Mapping[str, Any]]], dict[str, int]]:
    """Returns (the rows of each variant that may stand side by side, {control left out: answers that it lacks})."""
    by_variant: dict[str, dict[tuple[str, str], Mapping[str, Any]]] = {}
    for row in rows:
        by_variant.setdefault(row["variant"], {})[row["source"], row["id"]] = row
    own = by_variant.get(controls.OWN, {})
    kept, left_out = {controls.OWN: list(own.values())}, {}
    for control in filter(by_variant.__contains__, controls.CONTROLS):
        found = by_variant[control]
        free = partnerless if control == controls.SHUFFLED else set()
        if control in controls.OF_PICTURES and not all(map(_is_text, own.values())):
            found = {**{key: row for key, row in own.items() if _is_text(row)}, **found}
        lacking = sum(key not in found and _kind(row) not in free for key, row in own.items())
        if lacking:
            left_out[control] = lacking
        else:
            kept[control] = [row for key, row in found.items() if key in own]
    return {variant: its_rows for variant, its_rows in kept.items() if its_rows}, left_out


def _task_scores(
    task: tasks.EvalTask, by_variant: Mapping[str, Sequence[Mapping[str, Any]]], protocol: tasks.Protocol
) -> dict[str, Any]:
    if controls.OWN not in by_variant:
        return {}
    resamples = protocol.resampled([row["group"] for row in by_variant[controls.OWN]])
    scored: dict[str, Any] = {}
    for metric in task.metrics:
        found = {
            variant: variant_score(metric, task, rows, resamples=resamples) for variant, rows in by_variant.items()
        }
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


def variant_score(
    name: str, task: tasks.EvalTask, rows: Sequence[Mapping[str, Any]], *, resamples: controls.Resamples
) -> tuple[str, float, tuple[float, float]]:
    """Returns the name that a metric's value has, its value over some lines of predictions.jsonl, and the interval.

    Args:
      name: Of `metrics.METRICS`.
      task: How the lines are compared.
      rows: The lines.
      resamples: Of the pictures (`group`) of at least these lines.
    """
    metric = metrics.METRICS[name]
    targets, predictions = zip(*map(task.scored, rows), strict=True)
    single = metric.rows(targets, predictions)
    groups = [row["group"] for row in rows]
    total = metric.values(single.sum(0))
    key = next(iter(total))
    if not metric.is_mean:
        return key, float(total[key]), resamples.interval_of_sums(single, groups, lambda sums: metric.values(sums)[key])
    values = single[:, 0].tolist()
    scale = metric.top / 100.0
    low, high = resamples.interval([value / scale for value in values], groups)
    return key, sum(values) / len(values), (low * scale, high * scale)
