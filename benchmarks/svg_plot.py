"""Points with error bars as one small SVG file that needs nothing else, readable in light and dark.

It draws its own background, so that text keeps its contrast wherever the file is shown. Shapes differ as well as
colours.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

PLOT_W, PLOT_H, LEFT, RIGHT, TOP, BOTTOM = 380, 260, 64, 24, 44, 52
LEGEND_LINE = 18
COLOURS = (("#0b62a8", "#6cb6ff"), ("#b3480a", "#ffa657"), ("#1a7f4b", "#56d393"), ("#8a2f8f", "#e29bea"))
"""(light, dark) of a series; more series than colours begin again."""
MAX_TICKS = 6


@dataclass(frozen=True)
class Series:
    """Points of one kind."""

    name: str
    points: Sequence[tuple[float, float, float]]
    """(x, y, half the length of its error bar)."""
    is_line: bool = True


@dataclass(frozen=True)
class Panel:
    """One pair of axes."""

    x_label: str
    series: Sequence[Series]
    is_log: bool = False
    """Of the x axis."""
    x_marks: Mapping[str, float] = field(default_factory=dict)
    """Vertical lines by name."""


def plot_svg(title: str, y_label: str, panels: Sequence[Panel], y_marks: Mapping[str, float] | None = None) -> str:
    """The file's text: panels side by side with one y axis from 0.

    Args:
        y_marks: horizontal lines by name.
    """
    y_marks = y_marks or {}
    tops = [y + bar for panel in panels for series in panel.series for _, y, bar in series.points]
    y_ticks = linear_ticks(0.0, max([*tops, *y_marks.values(), 1e-9]))
    lowest = min([0.0, *(y - bar for panel in panels for series in panel.series for _, y, bar in series.points)])
    top = TOP + LEGEND_LINE * max(len(panel.series) for panel in panels)
    width, height = len(panels) * (LEFT + PLOT_W + RIGHT), top + PLOT_H + BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        f'role="img" aria-label="{escape(title)}">',
        _style(),
        f'<rect class="page" width="{width}" height="{height}"/>',
        f'<text class="title" x="{LEFT}" y="22">{escape(title)}</text>',
    ]
    for i, panel in enumerate(panels):
        parts.append(f'<g transform="translate({i * (LEFT + PLOT_W + RIGHT) + LEFT} {top})">')
        parts += _draw(panel, y_label, (min(lowest, y_ticks[0]), y_ticks[-1]), y_ticks, y_marks)
        parts.append("</g>")
    return "\n".join([*parts, "</svg>", ""])


def linear_ticks(low: float, high: float) -> list[float]:
    """Round numbers, at most `MAX_TICKS` steps, from at most `low` to at least `high`."""
    span = (high - low) or 1.0
    power = 10 ** math.floor(math.log10(span / MAX_TICKS))
    step = next(power * m for m in (1, 2, 5, 10) if span / (power * m) <= MAX_TICKS)
    first, last = math.floor(low / step + 1e-9), math.ceil(high / step - 1e-9)
    return [round(i * step, 12) for i in range(first, max(last, first + 1) + 1)]


def log_ticks(low: float, high: float) -> list[float]:
    """Powers of ten from at most `low` to at least `high`, both above 0."""
    first, last = math.floor(math.log10(low) + 1e-9), math.ceil(math.log10(high) - 1e-9)
    return [10.0**i for i in range(first, max(last, first + 1) + 1)]


def _style() -> str:
    light = [f".s{i} {{ color: {colour} }}" for i, (colour, _) in enumerate(COLOURS)]
    dark = [f".s{i} {{ color: {colour} }}" for i, (_, colour) in enumerate(COLOURS)]
    return (
        "<style>text { font: 12px system-ui, sans-serif; fill: #1f2328 } .title { font-size: 14px; font-weight: 600 } "
        ".page { fill: #ffffff } .grid { stroke: #d8dee4 } .axis { stroke: #57606a } "
        ".mark { stroke: #57606a; stroke-dasharray: 4 3 } .line { fill: none; stroke: currentColor; stroke-width: 2 } "
        f".dot {{ fill: currentColor; stroke: currentColor }} {' '.join(light)} "
        "@media (prefers-color-scheme: dark) { text { fill: #e6edf3 } .page { fill: #0d1117 } "
        ".grid { stroke: #30363d } "
        f".axis, .mark {{ stroke: #9198a1 }} {' '.join(dark)} }}</style>"
    )


def _draw(
    panel: Panel, y_label: str, y_range: tuple[float, float], y_ticks: Sequence[float], y_marks: Mapping[str, float]
) -> list[str]:
    """Everything inside one pair of axes."""
    xs = [x for series in panel.series for x, _, _ in series.points] + list(panel.x_marks.values())
    ticks = log_ticks(min(xs), max(xs)) if panel.is_log else linear_ticks(0.0, max(xs))
    scale = math.log10 if panel.is_log else float

    def place(x: float, y: float) -> tuple[float, float]:
        across = (scale(x) - scale(ticks[0])) / (scale(ticks[-1]) - scale(ticks[0]))
        up = (y - y_range[0]) / (y_range[1] - y_range[0])
        return round(across * PLOT_W, 1), round((1 - up) * PLOT_H, 1)

    parts = []
    for y in y_ticks:
        _, py = place(ticks[0], y)
        parts.append(f'<line class="grid" x2="{PLOT_W}" y1="{py}" y2="{py}"/>')
        parts.append(f'<text x="-8" y="{py + 4}" text-anchor="end">{y:g}</text>')
    for x in ticks:
        px, _ = place(x, y_range[0])
        parts.append(f'<line class="axis" x1="{px}" x2="{px}" y1="{PLOT_H}" y2="{PLOT_H + 5}"/>')
        parts.append(f'<text x="{px}" y="{PLOT_H + 20}" text-anchor="middle">{_number(x)}</text>')
    parts += [
        f'<line class="axis" x2="{PLOT_W}" y1="{PLOT_H}" y2="{PLOT_H}"/><line class="axis" y2="{PLOT_H}"/>',
        f'<text x="{PLOT_W / 2}" y="{PLOT_H + 40}" text-anchor="middle">{escape(panel.x_label)}</text>',
        f'<text transform="translate(-46 {PLOT_H / 2}) rotate(-90)" text-anchor="middle">{escape(y_label)}</text>',
    ]
    for name, y in y_marks.items():
        _, py = place(ticks[0], y)
        parts.append(f'<line class="mark" x2="{PLOT_W}" y1="{py}" y2="{py}"/>')
        parts.append(f'<text x="{PLOT_W}" y="{py - 5}" text-anchor="end">{escape(name)}</text>')
    for name, x in panel.x_marks.items():
        px, _ = place(x, y_range[0])
        parts.append(f'<line class="mark" x1="{px}" x2="{px}" y2="{PLOT_H}"/>')
        parts.append(f'<text x="{px - 5}" y="12" text-anchor="end">{escape(name)}</text>')
    for i, series in enumerate(panel.series):
        parts += _draw_series(series, i, -LEGEND_LINE * (len(panel.series) - i), place)
    return parts


def _draw_series(
    series: Series, number: int, legend_y: float, place: Callable[[float, float], tuple[float, float]]
) -> list[str]:
    parts = [f'<g class="s{number % len(COLOURS)}">']
    if series.is_line and len(series.points) > 1:
        corners = " ".join("{},{}".format(*place(x, y)) for x, y, _ in series.points)
        parts.append(f'<polyline class="line" points="{corners}"/>')
    for x, y, bar in series.points:
        (px, py), (_, above), (_, below) = place(x, y), place(x, y + bar), place(x, y - bar)
        parts.append(f'<line class="line" x1="{px}" x2="{px}" y1="{above}" y2="{below}"/>{_shape(number, px, py)}')
    parts.append(f'{_shape(number, 4, legend_y)}<text x="14" y="{legend_y + 4}">{escape(series.name)}</text></g>')
    return parts


def _shape(number: int, x: float, y: float) -> str:
    """Disc, square, triangle, diamond in turn."""
    if number % 4 == 0:
        return f'<circle class="dot" cx="{x}" cy="{y}" r="4"/>'
    corners = {
        1: ((-4, -4), (4, -4), (4, 4), (-4, 4)),
        2: ((0, -5), (5, 4), (-5, 4)),
        3: ((0, -5), (5, 0), (0, 5), (-5, 0)),
    }[number % 4]
    points = " ".join(f"{round(x + dx, 1)},{round(y + dy, 1)}" for dx, dy in corners)
    return f'<polygon class="dot" points="{points}"/>'


def _number(x: float) -> str:
    return f"{x:,.0f}" if x >= 1000 else f"{x:g}"
