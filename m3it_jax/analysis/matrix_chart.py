"""The generalisation matrix as a chart: score by how much worse the pictures are, a line for each kind of task."""

from collections.abc import Mapping
from typing import Any

from m3it_jax.analysis import charts
from m3it_jax.evaluation import matrix

_COLOURS = {
    ("seen", "seen"): "#06c",
    ("seen", "unseen"): "#c60",
    ("unseen", "seen"): "#080",
    ("unseen", "unseen"): "#a0a",
}
_DASHES = {"picture": "", "video": ' stroke-dasharray="5 3"'}


def plot(found: Mapping[str, Any]) -> str:
    """Returns the chart of what `matrix.measure` returns, as SVG; languages are joined, each question counts once."""
    lines = _lines(found)
    strengths = [strength for points in lines.values() for strength in points]
    frame = charts.frame((0, max(strengths, default=0) or 1), (0, 100))
    parts = [charts.axes(frame)]
    for place, ((task, wording, medium), points) in enumerate(lines.items()):
        colour = _COLOURS[task, wording]
        drawn = " ".join(f"{frame.x(strength)},{frame.y(value)}" for strength, value in points.items())
        parts.append(f'<polyline points="{drawn}" fill="none" stroke="{colour}"{_DASHES[medium]}/>')
        parts += [
            f'<circle cx="{frame.x(strength)}" cy="{frame.y(value)}" r="3" fill="{colour}"/>'
            for strength, value in points.items()
        ]
        label = f"{task} tasks, {wording} wording, {'videos' if medium == 'video' else 'pictures'}"
        top = charts.TOP + 8 + 14 * place
        left = charts.WIDTH - charts.RIGHT
        parts.append(f'<text x="{left}" y="{top}" text-anchor="end" fill="{colour}">{label}</text>')
    return charts.svg(parts, label="strength of the change to the pictures (0: none)")


def _lines(found: Mapping[str, Any]) -> dict[tuple[str, str, str], dict[int, float]]:
    """Returns {(task, wording, medium): {strength: mean over questions of all languages}}."""
    cells = [cell for cell in found["cells"] if cell["medium"] in matrix.MEDIA]
    lines: dict[tuple[str, str, str], dict[int, float]] = {}
    for key in sorted({(cell["task"], cell["wording"], cell["medium"]) for cell in cells}):
        own = [cell for cell in cells if (cell["task"], cell["wording"], cell["medium"]) == key]
        for strength in sorted({cell["strength"] for cell in own}):
            parts = [cell for cell in own if cell["strength"] == strength]
            number = sum(cell["n"] for cell in parts)
            lines.setdefault(key, {})[strength] = sum(cell["value"] * cell["n"] for cell in parts) / number
    return lines
