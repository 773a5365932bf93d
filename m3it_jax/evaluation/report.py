"""Scores -> a table for the terminal."""

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from m3it_jax.evaluation import controls


def table(scores: Mapping[str, Any]) -> str:
    """Returns the headline metric of each skill and family: n, score with its interval, and the controls.

    Below it stand the families whose interval does not lie above that of a control, and the controls left out.
    """
    families = scores["families"]
    skills = [_row(name, entry) for name, entry in scores["tasks"].items() if name not in families]
    grouped = [_row(name, scores["tasks"][name]) for name in families]
    header = ["task", "metric", "n", "score [low, high]", *controls.CONTROLS]
    lines = _aligned([header, *skills, None, *grouped])
    judged = {name: family["beats"] for name, family in families.items() if family["beats"]}
    below = [f"{name} ({', '.join(lost(beats))})" for name, beats in judged.items() if lost(beats)]
    if below:
        lines.append(f"not above these controls outside the intervals: {'; '.join(below)}")
    elif judged:
        lines.append("every family is above all its controls outside the intervals")
    for name, controls_left_out in scores["left_out"].items():
        missing = ", ".join(f"{control} ({number})" for control, number in controls_left_out.items())
        lines.append(f"{name}: left out, for want of answers: {missing}; the same command with --controls adds them")
    return "\n".join(lines)


def lost(beats: Mapping[str, bool]) -> list[str]:
    """Returns the controls that a score does not beat."""
    return [control for control, won in beats.items() if not won]


def _row(name: str, entry: Mapping[str, Any]) -> list[str]:
    metric, score = next(iter(entry.items()))
    others = (score["controls"].get(control) for control in controls.CONTROLS)
    return [
        name,
        metric,
        str(score["n"]),
        f"{score['value']:.1f} [{score['low']:.1f}, {score['high']:.1f}]",
        *("-" if value is None else f"{value:.1f}" for value in others),
    ]


def _aligned(rows: Sequence[Sequence[str] | None]) -> list[str]:
    """Returns the rows with columns of equal width, the first two to the left; None is a line between."""
    widths = [max(_width(row[place]) for row in rows if row) for place in range(len(rows[0] or ()))]
    lines = []
    for row in rows:
        if row is None:
            lines.append("-" * (sum(widths) + 2 * (len(widths) - 1)))
            continue
        cells = []
        for place, (cell, width) in enumerate(zip(row, widths, strict=True)):
            blank = " " * (width - _width(cell))
            cells.append(cell + blank if place < 2 else blank + cell)
        lines.append("  ".join(cells).rstrip())
    return lines


def _width(text: str) -> int:
    """Returns the columns that a text takes in a terminal: two for each wide character."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)
