"""The geometry of charts: inside the frame, in order, with marks at round numbers."""

import math

import pytest

from m3it_jax.analysis import charts


def places(polyline: str) -> list[tuple[float, float]]:
    return [tuple(map(float, point.split(","))) for point in polyline.split()]


def chart(values: list[float]) -> charts.Chart:
    made = charts.line(list(enumerate(values)))
    assert made is not None
    return made


def test_the_line_fills_the_frame_and_falls_when_the_values_fall() -> None:
    points = places(chart([4.0, 2.0, 1.0, 0.0]).raw)
    assert points[0] == (charts.LEFT, charts.TOP)
    assert points[-1] == (charts.WIDTH - charts.RIGHT, charts.HEIGHT - charts.BOTTOM)
    assert [x for x, _ in points] == sorted(x for x, _ in points)
    assert [y for _, y in points] == sorted(y for _, y in points)  # y downwards


def test_a_wide_range_is_logarithmic_with_equal_steps_for_equal_ratios() -> None:
    made = chart([100.0, 10.0, 1.0])
    assert made.logarithmic
    (_, first), (_, second), (_, third) = places(made.raw)
    assert second - first == pytest.approx(third - second, abs=0.2)
    assert [tick.label for tick in made.y_ticks] == ["1", "2", "5", "10", "20", "50", "100"]
    assert not chart([2.0, 1.0]).logarithmic


def test_a_linear_axis_begins_at_zero() -> None:
    assert chart([1.0, 1.5, 1.2]).y_ticks[0] == charts.Tick(charts.HEIGHT - charts.BOTTOM, "0")


@pytest.mark.parametrize(
    ("last", "labels"),
    [
        (3, ["0", "0.5", "1", "1.5", "2", "2.5", "3"]),
        (90, ["0", "20", "40", "60", "80"]),
        (299, ["0", "50", "100", "150", "200", "250"]),
        (4321, ["0", "1,000", "2,000", "3,000", "4,000"]),
    ],
)
def test_marks_are_round_and_few(last: int, labels: list[str]) -> None:
    assert [tick.label for tick in charts.line([(0, 1.0), (last, 2.0)]).x_ticks] == labels


def test_many_points_are_thinned_without_losing_the_end() -> None:
    values = [math.sin(place / 500) for place in range(10_000)]
    points = places(chart(values).raw)
    assert len(points) <= 242
    assert points[-1][0] == charts.WIDTH - charts.RIGHT


def test_the_moving_average_is_calmer() -> None:
    made = chart([2.0 + (-1) ** place for place in range(100)])
    spread = [max(y) - min(y) for y in ([y for _, y in places(line)][10:-10] for line in (made.raw, made.smooth))]
    assert spread[1] < spread[0] / 4


def test_nothing_to_draw() -> None:
    assert charts.line([]) is None
    assert charts.line([(1, 2.0)]) is None
    assert charts.line([(1, 2.0), (2, math.nan), (3, math.inf)]) is None
    assert charts.line([(1, 2.0), (2, 2.0)]) is not None


def test_a_histogram_counts_every_value_once() -> None:
    made = charts.histogram([0, 1, 1, 3, 7])
    assert made is not None
    assert [int(bar.label.split(": ")[1]) for bar in made.bars] == [1, 2, 0, 1, 0, 0, 0, 1]
    assert made.bars[1].height == 2 * made.bars[0].height == charts.HEIGHT - charts.TOP - charts.BOTTOM
    ends = [(bar.x, bar.x + bar.width, bar.y + bar.height) for bar in made.bars]
    assert ends[0][0] == charts.LEFT and ends[-1][1] == pytest.approx(charts.WIDTH - charts.RIGHT, abs=0.2)
    assert {round(bottom, 1) for _, _, bottom in ends} == {charts.HEIGHT - charts.BOTTOM}


def test_one_long_text_does_not_press_the_others_together() -> None:
    made = charts.histogram([*range(40)] * 10 + [100_000])
    assert made is not None and len(made.bars) == 40
    assert made.bars[-1].label == "39 or more: 11" and made.bars[0].label == "0: 10"


def test_wide_ranges_get_few_bins_of_round_width() -> None:
    made = charts.histogram([*range(1000)])
    assert made is not None and len(made.bars) <= charts._MOST_BINS
    assert made.bars[1].label == "50 to 99: 50"


def test_no_values_give_no_histogram_and_one_value_gives_one() -> None:
    assert charts.histogram([]) is None
    made = charts.histogram([0, 0])
    assert made is not None and [bar.label for bar in made.bars] == ["0: 2"]
