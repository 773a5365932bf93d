"""The chart of the matrix: one line for each kind of task, languages joined by their number of questions."""

import re

from m3it_jax.analysis import matrix_chart


def cell(strength: int, value: float, n: int, **names) -> dict:
    names = {"task": "seen", "wording": "seen", "language": "en", "medium": "picture", **names}
    return {**names, "strength": strength, "value": value, "n": n, "low": value, "high": value}


def test_languages_are_joined_by_their_questions():
    cells = [cell(0, 100, 30), cell(0, 0, 10, language="zh"), cell(5, 50, 30), cell(0, 80, 5, medium="video")]
    drawn = matrix_chart.plot({"cells": [*cells, cell(0, 10, 5, medium="text")]})
    lines = re.findall(r'<polyline points="([^"]*)"', drawn)
    assert len(lines) == 2 and drawn.count("<circle") == 3
    (first, last), (video,) = ([tuple(map(float, each.split(","))) for each in line.split()] for line in lines)
    level = {value: y for value, (_, y) in ((75, first), (50, last), (80, video))}
    # Heights are linear: 75, 50 and 80 of 100.
    per_point = (level[50] - level[75]) / 25
    assert abs(level[75] - level[80] - 5 * per_point) < 0.2 and per_point > 0
    assert "seen tasks, seen wording, videos" in drawn


def test_nothing_to_draw_is_an_empty_frame():
    assert "<polyline" not in matrix_chart.plot({"cells": []})
