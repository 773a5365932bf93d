"""Winoground: which scores are right, and what is refused."""

from typing import Any

import pytest

from m3it_jax import metrics


@pytest.mark.parametrize(
    ("scores", "right"),
    [
        ([2, 1, 1, 2], (100, 100, 100)),
        ([2, 3, 1, 4], (100, 0, 0)),  # picture 1 scores above picture 0 with any caption
        ([2, 1, 3, 4], (0, 100, 0)),  # caption 1 scores above caption 0 with any picture
        ([1, 1, 1, 1], (0, 0, 0)),  # equal is wrong
        ([1, 2, 2, 1], (0, 0, 0)),
        ([1, 0, 1, 2], (0, 100, 0)),  # picture 0 scores alike with both captions
        ([1, 1, 0, 2], (100, 0, 0)),  # caption 0 scores alike with both pictures
        ([float("-inf"), -1, -1, 0], (0, 0, 0)),
    ],
)
def test_text_image_and_group(scores: list[float], right: tuple[float, ...]) -> None:
    names = ("winoground_text", "winoground_image", "winoground_group")
    assert metrics.winoground([scores]) == dict(zip(names, right, strict=True))


@pytest.mark.parametrize(
    ("scores", "message"),
    [
        ([], "no prediction to score"),
        ([[1, 2, 3]], r"scores\[0\] has 3 scores, must have four"),
        ([[1, 2, 3, float("nan")]], r"scores\[0\]\[3\] is nan \(float\), must be a number"),
        ([[1, 2, 3, "4"]], r"scores\[0\]\[3\] is '4' \(str\), must be a number"),
        ([1.0], r"scores\[0\] is 1.0 \(float\), must be a list"),
    ],
)
def test_mistakes_are_told_in_one_line(scores: Any, message: str) -> None:
    with pytest.raises(metrics.ScoringError, match=message):
        metrics.winoground(scores)
