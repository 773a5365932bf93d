"""An evaluation language by language: each task's score, the gap to English, and whether answers are in the language.

    {"languages": {"de": {"match": 96.0, "match_n": 50, "tasks": {"vqa-v2": {
        "metric", "value", "n", "low", "high", "top": 100, "english": 41.0, "gap": -8.5}}}}, "tasks": ["vqa-v2", ...]}

`match` is the share of answers that py3langid takes for the language, among it and English, over answers that are long
enough to tell; it is missing where the language is not known to it, and in English. `gap` is the value less that of the
same task in English; it is missing where English was not asked.
"""

import html
from collections.abc import Mapping, Sequence
from typing import Any

from m3it_jax import errors, metrics
from m3it_jax.evaluation import controls, output, scores, tasks

_LETTERS_FROM = 20  # CHOICE: shorter answers are names and numbers, which are alike in many languages
_CELL, _HIGH, _NAME, _HEAD = 64, 16, 70, 90  # pixels of the heat map

Row = Mapping[str, Any]


def measure(folder: output.EvalFolder, protocol: tasks.Protocol) -> dict[str, Any]:
    """Returns the scores by language as above.

    Raises:
      UserError: the folder has no answers.
    """
    rows = [row for row in folder.predictions() if row["variant"] == controls.OWN]
    if not rows:
        raise errors.UserError(f"{folder.path}: has no answers; run m3it eval first")
    parts: dict[str, dict[str, list[Row]]] = {}
    for row in rows:
        parts.setdefault(row["language"], {}).setdefault(row["skill"], []).append(row)
    found: dict[str, Any] = {}
    for language in sorted(parts, key=lambda code: (code != "en", code)):
        of_tasks = {skill: _scored(its, skill, protocol) for skill, its in sorted(parts[language].items())}
        found[language] = {**_matched(parts[language], language), "tasks": of_tasks}
    english = found.get("en", {}).get("tasks", {})
    for language, about in found.items():
        for skill, entry in about["tasks"].items():
            if language != "en" and skill in english and english[skill]["metric"] == entry["metric"]:
                entry["english"] = english[skill]["value"]
                entry["gap"] = entry["value"] - entry["english"]
    return {"languages": found, "tasks": sorted({skill for about in found.values() for skill in about["tasks"]})}


def _scored(rows: Sequence[Row], skill: str, protocol: tasks.Protocol) -> dict[str, Any]:
    task = protocol.task(skill, family=rows[0]["family"], language=rows[0]["language"])
    name = task.computable(rows)[0][0]
    drawn = protocol.resampled([row["group"] for row in rows])
    key, value, (low, high) = scores.variant_score(name, task, rows, resamples=drawn)
    top = metrics.METRICS[name].top
    return {"metric": key, "value": value, "n": len(rows), "low": low, "high": high, "top": top}


def _matched(by_task: Mapping[str, Sequence[Row]], language: str) -> dict[str, Any]:
    """Returns the share of answers in the language and how many could be told; nothing where none can."""
    if language == "en" or language.split("-")[0] not in metrics.identified_languages():
        return {}
    said = [row["prediction"] for rows in by_task.values() for row in rows]
    long = [text for text in said if sum(map(str.isalpha, text)) >= _LETTERS_FROM]
    if not long:
        return {}
    match = metrics.language_match([[language]] * len(long), long, among=[language, "en"])["language_match"]
    return {"match": match, "match_n": len(long)}


def table(found: Mapping[str, Any]) -> str:
    """Returns the scores as lines of text: one for each language and task."""
    lines = [f"{'language':<10}{'task':<26}{'metric':<24}{'n':>7}{'value':>8}  interval          gap to en"]
    for language, about in found["languages"].items():
        for skill, one in about["tasks"].items():
            gap = f"{one['gap']:+.1f}" if "gap" in one else "-"
            within = f"{one['low']:.1f} to {one['high']:.1f}"
            lines.append(
                f"{language:<10}{skill:<26}{one['metric']:<24}{one['n']:>7,}{one['value']:>8.1f}  {within:<18}{gap:>8}"
            )
        if "match" in about:
            lines.append(f"{language:<10}answers in the language: {about['match']:.1f} % of {about['match_n']:,}")
    return "\n".join(lines)


def heat_map(found: Mapping[str, Any], trained: Sequence[str] = ()) -> str:
    """Returns an SVG, languages down and tasks across; a language that was trained on has a dot before its name."""
    names, codes = found["tasks"], list(found["languages"])
    width, height = _NAME + _CELL * len(names) + 10, _HEAD + _HIGH * len(codes) + 10
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        'font-family="sans-serif" font-size="10" role="img">',
        "<title>Scores by language and task</title>",
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
    ]
    for column, name in enumerate(names):
        x, y = _NAME + _CELL * column + 12, _HEAD - 8
        parts.append(f'<text x="{x}" y="{y}" transform="rotate(-35 {x} {y})">{html.escape(name)}</text>')
    for line, code in enumerate(codes):
        y = _HEAD + _HIGH * line
        dot = "● " if code in trained else ""
        parts.append(f'<text x="{_NAME - 6}" y="{y + 11}" text-anchor="end">{dot}{html.escape(code)}</text>')
        for column, name in enumerate(names):
            one = found["languages"][code]["tasks"].get(name)
            if one is not None:
                parts += _cell(_NAME + _CELL * column, y, one=one)
    return "\n".join([*parts, "</svg>"]) + "\n"


def _cell(x: int, y: int, *, one: Mapping[str, Any]) -> list[str]:
    share = min(max(one["value"] / one["top"], 0.0), 1.0)
    light = f"{100 - 45 * share:.0f}"  # never so dark that black figures cannot be read
    what = f"{one['metric']} {one['value']:.1f} [{one['low']:.1f}, {one['high']:.1f}] of {one['n']}"
    return [
        f'<rect x="{x}" y="{y}" width="{_CELL - 2}" height="{_HIGH - 2}" fill="hsl(210 60% {light}%)">'
        f"<title>{html.escape(what)}</title></rect>",
        f'<text x="{x + _CELL / 2 - 1}" y="{y + 11}" text-anchor="middle">{one["value"]:.1f}</text>',
    ]
