"""Scores -> a table for the terminal."""

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from m3it_jax.evaluation import controls


def table(scores: Mapping[str, Any]) -> str:
    """Returns the headline metric of each skill and family: n, score with its interval, the controls, and the verdict.

    The last column names the controls that a score does not beat: their intervals overlap. Below stand the verdicts in
    numbers, how much of the split was answered, and the controls left out.
    """
    families = scores["families"]
    verdicts = {name: entry["beats"] for kind in ("skills", "families") for name, entry in scores.get(kind, {}).items()}
    texts = scores.get("not_applicable", {})
    rows = {
        name: _row(name, entry, beats=verdicts.get(name, {}), texts=texts.get(name, {}))
        for name, entry in scores["tasks"].items()
    }
    header = ["task", "metric", "n", "score [low, high]", *controls.CONTROLS, "does not beat"]
    skills = [row for name, row in rows.items() if name not in families]
    lines = _aligned([header, *skills, None, *(rows[name] for name in families)])
    lines += [verdict(kind, scores.get(kind, {})) for kind in ("families", "skills")]
    lines += coverage(scores)
    for name, controls_left_out in scores["left_out"].items():
        missing = ", ".join(f"{control} ({number})" for control, number in controls_left_out.items())
        lines.append(f"{name}: left out, for want of answers: {missing}; the same command with --controls adds them")
    for name, texts in scores.get("not_applicable", {}).items():
        number = f"{max(texts.values()):,} of {next(iter(scores['tasks'][name].values()))['n']:,} questions"
        lines.append(f"{name}: {number} are text alone; {' and '.join(texts)} are not applicable to them")
    for name, left_out in scores.get("metrics_left_out", {}).items():
        lines += [f"{name}: without {metric}, which {reason}" for metric, reason in left_out.items()]
    return "\n".join(filter(None, lines))


def verdict(kind: str, judged: Mapping[str, Mapping[str, Any]]) -> str:
    """Returns how many skills or families beat every control, and which do not; nothing if none has a control."""
    with_controls = {name: entry["beats"] for name, entry in judged.items() if entry["beats"]}
    below = {name: lost(beats) for name, beats in with_controls.items() if lost(beats)}
    if not with_controls:
        return ""
    named = ", ".join(f"{name} ({', '.join(names)})" for name, names in below.items())
    won = f"{len(with_controls) - len(below)} of {len(with_controls)} {kind} beat every control"
    return f"{won} (the 95 % intervals do not overlap)" + (f"; these do not: {named}" if named else "")


def coverage(scores: Mapping[str, Any]) -> list[str]:
    """Returns a line if not every record of the split was answered."""
    found = scores.get("coverage", {})
    answered, records = found.get("answered"), found.get("records")
    if not records or answered >= records:
        return []
    return [f"{answered:,} of {records:,} records of the split were answered; the scores hold for these alone"]


def lost(beats: Mapping[str, bool]) -> list[str]:
    """Returns the controls that a score does not beat."""
    return [control for control, won in beats.items() if not won]


def _row(name: str, entry: Mapping[str, Any], *, beats: Mapping[str, bool], texts: Mapping[str, int]) -> list[str]:
    metric, score = next(iter(entry.items()))
    none = {control: "n/a" for control, number in texts.items() if number == score["n"]}
    others = {control: score["controls"].get(control) for control in controls.CONTROLS}
    return [
        name,
        metric,
        str(score["n"]),
        f"{score['value']:.1f} [{score['low']:.1f}, {score['high']:.1f}]",
        *(none.get(control, "-") if value is None else f"{value:.1f}" for control, value in others.items()),
        ", ".join(lost(beats)) if beats else "-",
    ]


def _aligned(rows: Sequence[Sequence[str] | None]) -> list[str]:
    """Returns the rows with columns of equal width, the first two and the last to the left; None is a line between."""
    widths = [max(_width(row[place]) for row in rows if row) for place in range(len(rows[0] or ()))]
    left = (0, 1, len(widths) - 1)
    lines = []
    for row in rows:
        if row is None:
            lines.append("-" * (sum(widths) + 2 * (len(widths) - 1)))
            continue
        cells = []
        for place, (cell, width) in enumerate(zip(row, widths, strict=True)):
            blank = " " * (width - _width(cell))
            cells.append(cell + blank if place in left else blank + cell)
        lines.append("  ".join(cells).rstrip())
    return lines


def _width(text: str) -> int:
    """Returns the columns that a text takes in a terminal: two for each wide character."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
