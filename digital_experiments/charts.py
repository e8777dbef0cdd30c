"""Charts as SVG: lines over each other, points, parallel coordinates. Knows numbers only.

A chart takes its colours of text and lines from the page that it stands in, light or dark. It
needs no script, so it shows itself in every notebook and on paper.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from digital_experiments.files import save

WIDTH, HEIGHT = 720, 300
_LEFT, _RIGHT, _TOP, _BOTTOM = 64, 14, 12, 40
_MOST = 800  # points of a line: no screen shows more
_LARGEST, _SMALLEST = 8e307, 1e-300  # that can be told apart in a picture
_PALETTE = (
    *("#2f7ed8", "#e4761b", "#2a9d5c", "#d33f49", "#8a63d2"),
    *("#00a3ad", "#c2499d", "#8c7a1f", "#6b7785", "#9a5b34"),
)
_STYLE = (
    "svg.de-chart{font:12px system-ui,sans-serif;color:inherit;max-width:100%;height:auto}"
    "svg.de-chart text{fill:currentColor}"
    "svg.de-chart .faint{stroke:currentColor;opacity:.18}"
    "svg.de-chart .line{fill:none;stroke-width:1.6;stroke-linejoin:round}"
)


class Line(NamedTuple):
    """One line of a chart: a label, a colour, and numbers; NaN makes a gap."""

    label: str
    colour: str
    x: Any
    y: Any


class Chart:
    """A picture that shows itself in a notebook, and can be saved.

    Parameters
    ----------
    svg : str
        The picture.
    text : str
        What a terminal shows.
    """

    def __init__(self, svg: str, text: str) -> None:
        self.svg = svg
        self.text = text

    def _repr_html_(self) -> str:
        return self.svg

    def __repr__(self) -> str:
        return self.text

    def save(self, path: str | Path) -> Path:
        """Write the picture to a file, ``.svg`` or ``.html``.

        Raises
        ------
        ValueError
            For another ending.
        """
        ending = Path(path).suffix
        if ending not in (".svg", ".html"):
            raise ValueError(f"A chart is saved as .svg or .html, not as {Path(path).name!r}.")
        page = self.svg
        if ending == ".html":
            page = (
                '<!doctype html><meta charset="utf-8">'
                f'<body style="color-scheme:light dark;background:Canvas;color:CanvasText">{page}'
            )
        return save(path, page.encode())


def colour(number: int) -> str:
    """The colour of the n-th of many things; the first ten are far apart.

    >>> colour(0), colour(12)
    ('#2f7ed8', 'hsl(211 60% 50%)')
    """
    if number < len(_PALETTE):
        return _PALETTE[number]
    return f"hsl({(number * 137.508 + 0.5) % 360:.0f} 60% 50%)"


def lines(
    some: Sequence[Line],
    x_name: str,
    y_name: str,
    log: bool = False,
    legend: bool = False,
    most: int = _MOST,
) -> str:
    """Lines over each other.

    Parameters
    ----------
    some : list of Line
        Each with as many x as y.
    x_name, y_name : str
        What stands at the axes.
    log : bool
        Whether the y axis is logarithmic; what is not positive is left out.
    legend : bool
        Whether labels and colours are listed below.
    most : int
        How many points of a line are drawn at most: its lowest and highest ones.
    """
    drawn = [_thinned(line, max(16, min(most, _MOST))) for line in some]
    frame = _Frame(
        [v for line in drawn for v in line.x], [v for line in drawn for v in line.y], log
    )
    paths = "".join(
        f'<path class="line" stroke="{escape(line.colour)}" d="{frame.path(line.x, line.y)}">'
        f"<title>{escape(line.label)}</title></path>"
        for line in drawn
    )
    return _svg(
        frame.axes(x_name, y_name) + paths, [(i.label, i.colour) for i in some] if legend else []
    )


def points(
    x: Sequence[float],
    y: Sequence[float],
    labels: Sequence[str],
    x_name: str,
    y_name: str,
    log: bool = False,
) -> str:
    """Points, each with a label that shows when it is pointed at."""
    frame = _Frame(_with_room(x), list(y) if log else _with_room(y), log)
    dots = "".join(
        f'<circle cx="{frame.x(a):.1f}" cy="{frame.y(b):.1f}" r="4" fill="{colour(0)}" '
        f'fill-opacity=".7"><title>{escape(label)}</title></circle>'
        for a, b, label in zip(x, y, labels, strict=True)
        if math.isfinite(a) and math.isfinite(b) and (b > 0 or not log)
    )
    return _svg(frame.axes(x_name, y_name) + dots, [])


def parallel(axes: Sequence[tuple[str, Sequence[Any]]], labels: Sequence[str]) -> str:
    """Parallel coordinates: an axis for each column, a line for each row.

    The last axis colours the lines, from its lowest value in blue to its highest in orange.
    Columns of texts have a place for each text.
    """
    scales = [_Scale(values) for _, values in axes]
    step = (WIDTH - 2 * _LEFT) / max(1, len(axes) - 1)
    places = [_LEFT + n * step for n in range(len(axes))]
    drawn = []
    for row, label in enumerate(labels):
        at = [
            (x, s.place(values[row]))
            for x, s, (_, values) in zip(places, scales, axes, strict=True)
        ]
        if all(y is not None for _, y in at):
            path = "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in at)
            share = scales[-1].share(axes[-1][1][row])
            drawn.append(
                f'<path class="line" stroke="{_between(share)}" stroke-opacity=".7" '
                f'd="{path}"><title>{escape(label)}</title></path>'
            )
    marks = "".join(
        _axis(x, name, scale, n == len(axes) - 1)
        for n, (x, (name, _), scale) in enumerate(zip(places, axes, scales, strict=True))
    )
    return _svg("".join(drawn) + marks, [])


def bars(names: Sequence[str], shares: Sequence[float], title: str) -> str:
    """A bar for each name, as long as its share of 1."""
    left, height = 160, 26
    room = WIDTH - left - 70
    parts = [f'<text x="{left}" y="16" opacity=".7">{escape(title)}</text>']
    for n, (name, share) in enumerate(zip(names, shares, strict=True)):
        y = 30 + n * height
        parts.append(
            f'<text x="{left - 8}" y="{y + 14}" text-anchor="end">{escape(name[:22])}</text>'
            f'<rect x="{left}" y="{y}" width="{max(share * room, 1):.1f}" height="{height - 8}" '
            f'rx="2" fill="{colour(0)}"/>'
            f'<text x="{left + max(share * room, 1) + 8:.1f}" y="{y + 14}">{share:.0%}</text>'
        )
    return _svg("".join(parts), [], 40 + len(names) * height)


class Strip(NamedTuple):
    """The values of one row of :func:`strips`, their mean, and its interval."""

    label: str
    values: Sequence[float]
    mean: float
    low: float
    high: float


def strips(some: Sequence[Strip], name: str) -> str:
    """A row of points for each group, with its mean and the interval about it."""
    left, height = 172, 46
    whole = 20 + len(some) * height + _BOTTOM
    seen = [v for strip in some for v in (*strip.values, strip.low, strip.high)]
    ticks, (low, high) = _range(_drawable(_with_room(_drawable(seen))))

    def x(value: float) -> str:
        return f"{left + (_within(value) - low) / (high - low) * (WIDTH - left - 24):.1f}"

    parts = [
        f'<line class="faint" x1="{x(tick)}" x2="{x(tick)}" y1="10" y2="{whole - _BOTTOM}"/>'
        f'<text x="{x(tick)}" y="{whole - _BOTTOM + 16}" text-anchor="middle">{told}</text>'
        for tick, told in zip(ticks, _tick_texts(ticks), strict=True)
    ]
    parts.append(
        f'<text x="{(left + WIDTH) / 2}" y="{whole - 6}" text-anchor="middle" opacity=".7">'
        f"{escape(name)}</text>"
    )
    labels = _short_ones([strip.label for strip in some])
    for n, strip in enumerate(some):
        y, shade = 10 + (n + 0.5) * height, colour(n)
        parts.append(
            f'<text x="{left - 12}" y="{y + 4:.1f}" text-anchor="end">{escape(labels[n])}'
            f"<title>{escape(strip.label)}</title></text>"
        )
        parts += [
            f'<circle cx="{x(v)}" cy="{y + (k * 0.618 % 1 - 0.5) * 20:.1f}" r="3" fill="{shade}" '
            f'fill-opacity=".55"><title>{number(v)}</title></circle>'
            for k, v in enumerate(strip.values)
            if math.isfinite(v)
        ]
        if math.isfinite(strip.low) and math.isfinite(strip.high):
            ends = f'x1="{x(strip.low)}" x2="{x(strip.high)}"'
            parts.append(f'<line {ends} y1="{y}" y2="{y}" stroke="{shade}" stroke-width="3"/>')
        if math.isfinite(strip.mean):
            told = f"{strip.label}: {number(strip.mean)}"
            if math.isfinite(strip.low):
                told += f" ({number(strip.low)} to {number(strip.high)})"
            parts.append(
                f'<path d="M{x(strip.mean)} {y - 8}l6 8l-6 8l-6 -8z" fill="{shade}" '
                f'stroke="Canvas"><title>{escape(told)}</title></path>'
            )
    return _svg("".join(parts), [], whole)


def _short_ones(labels: Sequence[str], length: int = 22) -> list[str]:
    """Labels that have room; where their middle tells them apart, without what all begin with."""
    short = [_short(label, length) for label in labels]
    if len(set(short)) == len(set(labels)):
        return short
    places = enumerate(zip(*(label for label in labels if len(label) > length), strict=False))
    same = next((n for n, letters in places if len(set(letters)) > 1), 0)
    cut = [f"…{label[max(0, same - 3) :]}" if len(label) > length else label for label in labels]
    return [label if len(label) <= length else f"{label[: length - 1]}…" for label in cut]


def _short(label: str, length: int = 22) -> str:
    """A label that has room: the start and the end of a long one, which tell it from others."""
    return label if len(label) <= length else f"{label[: length // 2 - 1]}…{label[-length // 2 :]}"


def _between(share: float | None) -> str:
    """A colour from blue to orange."""
    if share is None:
        return "#888888"
    ends = zip((47, 126, 216), (232, 118, 20), strict=True)
    return "#" + "".join(f"{round(low + share * (high - low)):02x}" for low, high in ends)


class _Scale:
    """Where the values of a column are on an upright axis."""

    def __init__(self, values: Sequence[Any]) -> None:
        present = [v for v in values if v is not None and v == v]
        self.numeric = all(isinstance(v, (int, float)) and type(v) is not bool for v in present)
        if self.numeric:
            finite = _drawable(map(as_float, present))
            low, high = (min(finite), max(finite)) if finite else (0.0, 1.0)
            self.log = low > 0 and high / low >= 1000
            self.low, self.high = (math.log10(low), math.log10(high)) if self.log else (low, high)
            ends = [(0.0, low), (1.0, high)] if high > low else [(0.5, low)]
            self.ends = [(share, f"{value:.3g}") for share, value in ends]
        else:
            self.texts = sorted({str(v) for v in present})
            last = max(1, len(self.texts) - 1)
            self.ends = [(n / last, text) for n, text in enumerate(self.texts)][:12]

    def share(self, value: Any) -> float | None:
        if value is None or value != value:
            return None
        if not self.numeric:
            return self.texts.index(str(value)) / max(1, len(self.texts) - 1)
        value = as_float(value)
        if not math.isfinite(value):
            return None
        value = math.log10(value) if self.log else _within(value)
        return (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5

    def place(self, value: Any) -> float | None:
        share = self.share(value)
        return None if share is None else HEIGHT - _BOTTOM - share * (HEIGHT - 30 - _BOTTOM)


def _axis(x: float, name: str, scale: _Scale, last: bool) -> str:
    top, bottom = 30, HEIGHT - _BOTTOM
    texts = "".join(
        f'<text x="{x + (6 if last else -6):.1f}" y="{bottom - share * (bottom - top) + 4:.1f}" '
        f'text-anchor="{"start" if last else "end"}">{escape(text[:14])}</text>'
        for share, text in scale.ends
    )
    return (
        f'<line class="faint" style="opacity:.6" x1="{x:.1f}" x2="{x:.1f}" '
        f'y1="{top}" y2="{bottom}"/>'
        f'<text x="{x:.1f}" y="{HEIGHT - 14}" text-anchor="middle">{escape(name[:22])}</text>'
        + texts
    )


def as_float(value: float) -> float:
    """A number as a float; an integer beyond all floats as the infinity that it is nearest to."""
    try:
        return float(value)
    except OverflowError:
        return math.inf if value > 0 else -math.inf


def _with_room(values: Sequence[float]) -> list[float]:
    """Values, and two more that leave some room around them."""
    finite = _drawable(values)
    room = (max(finite) - min(finite)) * 0.04 if finite else 0
    return [*finite, min(finite) - room, max(finite) + room] if room else finite


def _drawable(values: Iterable[float]) -> list[float]:
    """The finite values, none so large that a difference would not be finite."""
    return [_within(v) for v in values if math.isfinite(v)]


def _within(value: float) -> float:
    return min(max(value, -_LARGEST), _LARGEST)


class _Frame:
    """Axes, and where on the picture a point is."""

    def __init__(self, xs: list[float], ys: list[float], log: bool) -> None:
        self.log = log
        self.x_ticks, self._x = _range(_drawable(xs))
        finite = [v for v in _drawable(ys) if v > 0 or not log]
        self.y_ticks, self._y = _log_range(finite) if log else _range(finite)

    def x(self, value: float) -> float:
        low, high = self._x
        return _LEFT + (_within(value) - low) / (high - low) * (WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        low, high = self._y
        value = math.log10(value) if self.log else _within(value)
        return HEIGHT - _BOTTOM - (value - low) / (high - low) * (HEIGHT - _TOP - _BOTTOM)

    def path(self, xs: Iterable[float], ys: Iterable[float]) -> str:
        parts, pen = [], "M"
        for x, y in zip(xs, ys, strict=True):
            if math.isfinite(x) and math.isfinite(y) and (y > 0 or not self.log):
                parts.append(f"{pen}{self.x(x):.1f} {self.y(y):.1f}")
                pen = "L"
            else:
                pen = "M"
        if len(parts) == 1:
            parts.append("h.01")  # a point, with the line's round end
        return "".join(parts)

    def axes(self, x_name: str, y_name: str) -> str:
        bottom, right = HEIGHT - _BOTTOM, WIDTH - _RIGHT
        parts = []
        for value, told in zip(self.y_ticks, _tick_texts(self.y_ticks), strict=True):
            y = f"{self.y(value):.1f}"
            parts.append(f'<line class="faint" x1="{_LEFT}" x2="{right}" y1="{y}" y2="{y}"/>')
            parts.append(f'<text x="{_LEFT - 8}" y="{y}" dy="4" text-anchor="end">{told}</text>')
        for value, told in zip(self.x_ticks, _tick_texts(self.x_ticks), strict=True):
            x = f"{self.x(value):.1f}"
            parts.append(f'<text x="{x}" y="{bottom + 16}" text-anchor="middle">{told}</text>')
        parts.append(
            f'<text x="{(_LEFT + right) / 2}" y="{HEIGHT - 6}" text-anchor="middle" '
            f'opacity=".7">{escape(x_name)}</text>'
            f'<text transform="translate(13 {(_TOP + bottom) / 2}) rotate(-90)" '
            f'text-anchor="middle" opacity=".7">{escape(y_name)}</text>'
        )
        return "".join(parts)


def number(value: float) -> str:
    """A number in few characters.

    >>> number(0.1 + 0.2), number(1500000), number(3)
    ('0.3', '1.5e+06', '3')
    """
    return f"{value:.6g}" if abs(value) < 1e5 else f"{value:.4g}"


def _tick_texts(ticks: list[float]) -> list[str]:
    """Numbers in as few characters as tell them apart."""
    told = [number(tick) for tick in ticks]
    digits = 5
    while len(set(told)) < len(told) and digits < 17:
        told = [f"{tick:.{digits}g}" for tick in ticks]
        digits += 1
    return told


def _range(values: list[float]) -> tuple[list[float], tuple[float, float]]:
    """Round numbers over a range, and its ends."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    if high - low <= max(_SMALLEST, 1e-12 * max(abs(low), abs(high))):
        pad = abs(low) * 0.1 if abs(low) > _SMALLEST else 1.0
        low, high = low - pad, high + pad
    size = (high - low) / 6
    power = 10.0 ** math.floor(math.log10(size))
    step = next(f * power for f in (1, 2, 5, 10) if f * power >= size * 0.999)
    first = math.ceil(low / step - 1e-9)
    ticks = [n * step for n in range(first, math.floor(high / step + 1e-9) + 1)]
    return ticks, (low, high)


def _log_range(values: list[float]) -> tuple[list[float], tuple[float, float]]:
    """Powers of ten over a range, and the logarithms of its ends."""
    low, high = (min(values), max(values)) if values else (1.0, 10.0)
    first, last = math.floor(math.log10(low)), math.ceil(math.log10(high))
    last = max(last, first + 1)
    step = max(1, (last - first) // 6)
    ticks = [n for n in range(first, last + 1, step) if -307 <= n <= 307]
    return [10.0**n for n in ticks], (first, last)


def _thinned(line: Line, most: int) -> Line:
    """The line with the lowest and the highest point of each of a few hundred stretches."""
    import numpy

    x, y = numpy.asarray(line.x, dtype=float), numpy.asarray(line.y, dtype=float)
    if len(x) > most:
        size = -(-len(x) // (most // 2))
        keep: list[int] = []
        for start in range(0, len(y), size):
            part = y[start : start + size]
            if not numpy.isnan(part).all():
                ends = {int(numpy.nanargmin(part)), int(numpy.nanargmax(part))}
                keep.extend(start + n for n in sorted(ends))
        x, y = x[keep], y[keep]
    return Line(line.label, line.colour, x.tolist(), y.tolist())


def _svg(content: str, legend: Sequence[tuple[str, str]], height: int = HEIGHT) -> str:
    height += (len(legend) + 1) // 2 * 18
    entries = "".join(
        f'<g transform="translate({_LEFT + n % 2 * 325} {HEIGHT + n // 2 * 18})">'
        f'<rect y="2" width="12" height="4" rx="2" fill="{escape(shade)}"/>'
        f'<text x="18" y="8">{escape(label[:48])}</text></g>'
        for n, (label, shade) in enumerate(legend)
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="de-chart" viewBox="0 0 {WIDTH} {height}" '
        f'width="{WIDTH}" height="{height}" role="img"><style>{_STYLE}</style>'
        f"{content}{entries}</svg>"
    )


def sparkline(values: Sequence[float], width: int = 24) -> str:
    """A series as a few bars of text.

    >>> sparkline([1, 2, 3, 4])
    '▁▃▆█'
    """
    finite = _drawable(values)
    if not finite:
        return ""
    if len(finite) > width:
        finite = [finite[n * len(finite) // width] for n in range(width - 1)] + [finite[-1]]
    low, high = min(finite), max(finite)
    span = (high - low) or 1.0
    return "".join("▁▂▃▄▅▆▇█"[round((v - low) / span * 7)] for v in finite)
