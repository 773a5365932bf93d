"""Numbers -> the geometry of a chart; the page draws it. Coordinates are pixels of the chart, y downwards."""

import dataclasses
import math
from collections.abc import Callable, Sequence

WIDTH, HEIGHT = 520, 280
LEFT, RIGHT, TOP, BOTTOM = 52, 12, 12, 44  # margins: left and bottom hold the axes' labels

_MOST_POINTS = 240  # more cannot be told apart at this width
_MOST_BINS = 40
_LOG_FROM = 8  # ratio of largest to smallest value from which a logarithmic axis shows more


@dataclasses.dataclass(frozen=True)
class Tick:
    """A mark of an axis: where it is and what stands there."""

    at: float
    label: str


@dataclasses.dataclass(frozen=True)
class Chart:
    """A line over time.

    Attributes:
      raw: Points of the line, "x,y x,y ..." as SVG's polyline takes them.
      smooth: The same for its moving average.
      x_ticks: Marks of the horizontal axis.
      y_ticks: Marks of the vertical axis.
      logarithmic: Whether the vertical axis is.
    """

    raw: str
    smooth: str
    x_ticks: list[Tick]
    y_ticks: list[Tick]
    logarithmic: bool


def line(points: Sequence[tuple[float, float]]) -> Chart | None:
    """Returns the chart of (x, y) points in order of x, or None if fewer than two are finite."""
    kept = _thinned([(x, y) for x, y in points if math.isfinite(y)])
    if len(kept) < 2:
        return None
    xs, ys = [x for x, _ in kept], [y for _, y in kept]
    logarithmic = min(ys) > 0 and max(ys) / min(ys) > _LOG_FROM
    measure: Callable[[float], float] = math.log if logarithmic else float
    low, high = (min(ys), max(ys)) if logarithmic else (min(0.0, *ys), max(ys))
    x_scale = _scale(xs[0], xs[-1], (LEFT, WIDTH - RIGHT))
    y_scale = _scale(measure(low), measure(high), (HEIGHT - BOTTOM, TOP))

    def drawn(values: Sequence[float]) -> str:
        return " ".join(f"{x_scale(x):.1f},{y_scale(measure(y)):.1f}" for x, y in zip(xs, values, strict=True))

    y_values = _log_ticks(low, high) if logarithmic else _even_ticks(low, high)
    return Chart(
        raw=drawn(ys),
        smooth=drawn(_smoothed(ys)),
        x_ticks=[Tick(round(x_scale(x), 1), f"{x:,.10g}") for x in _even_ticks(xs[0], xs[-1])],
        y_ticks=[Tick(round(y_scale(measure(y)), 1), f"{y:.6g}") for y in y_values],
        logarithmic=logarithmic,
    )


@dataclasses.dataclass(frozen=True)
class Bar:
    """A bar of a histogram; `label` says in words what it stands for."""

    x: float
    y: float
    width: float
    height: float
    label: str


@dataclasses.dataclass(frozen=True)
class Histogram:
    """How often whole numbers occur: bars from left to right, and the marks of both axes."""

    bars: list[Bar]
    x_ticks: list[Tick]
    y_ticks: list[Tick]


def histogram(values: Sequence[int]) -> Histogram | None:
    """Returns the histogram of whole numbers from 0 on, or None if there are none.

    Bins are equally wide. The last one holds everything above the 99th percentile too, so that one long text does not
    press all others into the first bin.
    """
    if not values:
        return None
    ordered = sorted(values)
    top = ordered[min(len(ordered) - 1, math.ceil(0.99 * len(ordered)) - 1)] + 1
    width = next(w for power in range(12) for w in (10**power, 2 * 10**power, 5 * 10**power) if top / w <= _MOST_BINS)
    number = math.ceil(top / width)
    counts = [0] * number
    for value in values:
        counts[min(value // width, number - 1)] += 1
    x_scale = _scale(0, number * width, (LEFT, WIDTH - RIGHT))
    y_scale = _scale(0, max(counts), (HEIGHT - BOTTOM, TOP))
    bars = []
    for place, count in enumerate(counts):
        first, last = place * width, (place + 1) * width - 1
        span = f"{first:,}" if width == 1 else f"{first:,} to {last:,}"
        if place == number - 1 and ordered[-1] > last:
            span = f"{first:,} or more"
        x, y = x_scale(first), y_scale(count)
        bars.append(
            Bar(
                x=round(x, 1),
                y=round(y, 1),
                width=round(x_scale(first + width) - x, 1),
                height=round(HEIGHT - BOTTOM - y, 1),
                label=f"{span}: {count:,}",
            )
        )
    return Histogram(
        bars=bars,
        x_ticks=[Tick(round(x_scale(x), 1), f"{x:,.10g}") for x in _even_ticks(0, number * width)],
        y_ticks=[Tick(round(y_scale(y), 1), f"{y:,.10g}") for y in _even_ticks(0, max(counts)) if y == int(y)],
    )


@dataclasses.dataclass(frozen=True)
class Frame:
    """Where values lie in a chart of several lines, and the marks of its axes; pixels are rounded to a tenth."""

    x: Callable[[float], float]
    y: Callable[[float], float]
    x_ticks: list[Tick]
    y_ticks: list[Tick]


def frame(x_range: tuple[float, float], y_range: tuple[float, float]) -> Frame:
    """Returns the frame of values between two bounds on each axis."""
    x_scale = _scale(*x_range, (LEFT, WIDTH - RIGHT))
    y_scale = _scale(*y_range, (HEIGHT - BOTTOM, TOP))
    return Frame(
        x=lambda value: round(x_scale(value), 1),
        y=lambda value: round(y_scale(value), 1),
        x_ticks=[Tick(round(x_scale(x), 1), f"{x:,.10g}") for x in _even_ticks(*x_range)],
        y_ticks=[Tick(round(y_scale(y), 1), f"{y:,.10g}") for y in _even_ticks(*y_range)],
    )


def axes(frame: Frame) -> str:
    """Returns the axes of a frame as SVG."""
    bottom = HEIGHT - BOTTOM
    parts = [f'<path d="M{LEFT},{TOP}V{bottom}H{WIDTH - RIGHT}" fill="none" stroke="#444"/>']
    parts += [
        f'<text x="{tick.at}" y="{bottom + 16}" text-anchor="middle" fill="#444">{tick.label}</text>'
        for tick in frame.x_ticks
    ]
    parts += [
        f'<text x="{LEFT - 6}" y="{tick.at + 4}" text-anchor="end" fill="#444">{tick.label}</text>'
        for tick in frame.y_ticks
    ]
    return "".join(parts)


def svg(parts: Sequence[str], *, label: str) -> str:
    """Returns a picture of parts, for a file of its own; `label` is plain text under the horizontal axis."""
    name = f'<text x="{(LEFT + WIDTH - RIGHT) / 2}" y="{HEIGHT - 8}" text-anchor="middle" fill="#444">{label}</text>'
    size, font = f'viewBox="0 0 {WIDTH} {HEIGHT}"', 'font-family="sans-serif" font-size="11"'
    begin = f'<svg xmlns="http://www.w3.org/2000/svg" {size} {font}>'
    ground = f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>'
    return f"{begin}{ground}{''.join(parts)}{name}</svg>\n"


def _scale(first: float, last: float, pixels: tuple[float, float]) -> Callable[[float], float]:
    span = (last - first) or 1.0
    return lambda value: pixels[0] + (value - first) / span * (pixels[1] - pixels[0])


def _thinned(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """Returns at most about `_MOST_POINTS` points: means over runs of neighbours, the last point as it is."""
    run = math.ceil(len(points) / _MOST_POINTS)
    if run <= 1:
        return list(points)
    means = []
    for begin in range(0, len(points), run):
        part = points[begin : begin + run]
        means.append((sum(x for x, _ in part) / len(part), sum(y for _, y in part) / len(part)))
    return [*means, points[-1]]


def _smoothed(values: Sequence[float]) -> list[float]:
    """Returns the mean of each value and its neighbours, a twentieth of the line to either side."""
    reach = max(1, len(values) // 20)
    windows = (values[max(0, place - reach) : place + reach + 1] for place in range(len(values)))
    return [sum(window) / len(window) for window in windows]


def _even_ticks(low: float, high: float) -> list[float]:
    """Returns 3 to 7 round numbers between two values."""
    span = (high - low) or 1.0
    power = 10.0 ** math.floor(math.log10(span / 4))
    step = next(factor * power for factor in (1, 2, 5, 10) if span / (factor * power) <= 6)
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 12) for number in range(first, math.floor(high / step + 1e-9) + 1)]


def _log_ticks(low: float, high: float) -> list[float]:
    """Returns the values 1, 2 and 5 times a power of ten between two positive values."""
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    values = [factor * 10.0**power for power in powers for factor in (1, 2, 5)]
    return [value for value in values if low * (1 - 1e-9) <= value <= high * (1 + 1e-9)]
