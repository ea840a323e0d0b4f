"""A line chart as SVG, whose values are shown under the pointer."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from markupsafe import Markup

from detkit.reporting.parts.rendering import render

WIDTH, HEIGHT = 640, 300
LEFT, RIGHT, TOP, BOTTOM = 62, 14, 12, 46
MOST_POINTS = 400
MOST_DOTS = 30
COLORS = 8
"""Colors of the style sheet; further series have them again, with dashes."""


@dataclass(frozen=True, eq=False)
class Series:
    """A line.

    Args:
        name: in the legend.
        x: ``(N,)`` ascending; of several equal ones the last counts.
        y: ``(N,)``.
        is_shown: whether it is drawn before a reader asks for it.
        is_bold: whether it is drawn in bold.
    """

    name: str
    x: np.ndarray
    y: np.ndarray
    is_shown: bool = True
    is_bold: bool = False


@dataclass(frozen=True)
class _Axis:
    low: float
    high: float
    ticks: Sequence[float]
    begin: float
    end: float

    @classmethod
    def of(cls, values: np.ndarray, limits: tuple[float, float] | None, begin: float, end: float) -> _Axis:
        low, high = limits or ((float(values.min()), float(values.max())) if len(values) else (0.0, 1.0))
        if high <= low:
            low, high = low - 0.5, low + 0.5
        step = _round_step((high - low) / 5)
        first = math.ceil(low / step - 1e-9)
        ticks = [step * k for k in range(first, math.floor(high / step + 1e-9) + 1)]
        return cls(low, high, ticks, begin, end)

    def place(self, values: np.ndarray) -> np.ndarray:
        shares = (np.clip(values, self.low, self.high) - self.low) / (self.high - self.low)
        return self.begin + shares * (self.end - self.begin)

    def labels(self) -> list[tuple[float, str]]:
        return [(float(self.place(np.array(tick))), f"{tick:.6g}") for tick in self.ticks]


def line_chart(
    title: str,
    series: Sequence[Series],
    x_label: str,
    y_label: str,
    x_limits: tuple[float, float] | None = None,
    y_limits: tuple[float, float] | None = None,
) -> Markup:
    """A chart of some lines, each of which the legend switches on and off.

    Lines of more than 400 points are drawn by the means of as many groups of points. Values that are not finite are
    left out.

    Args:
        title: what it shows.
        series: the lines.
        x_label: name and unit of the horizontal axis.
        y_label: name and unit of the vertical axis.
        x_limits: the ends of the horizontal axis; None: of the values.
        y_limits: the ends of the vertical axis, at which lines are cut; None: of the values.
    """
    lines = [_thinned(one) for one in series]
    across = _Axis.of(_joined([one.x for one in lines]), x_limits, LEFT, WIDTH - RIGHT)
    upward = _Axis.of(_joined([one.y for one in lines]), y_limits, HEIGHT - BOTTOM, TOP)
    drawn = [
        {
            "name": one.name,
            "path": _path(across.place(one.x), upward.place(one.y)),
            "dots": _dots(across.place(one.x), upward.place(one.y)) if len(one.x) <= MOST_DOTS else "",
            "color": index % COLORS,
            "is_dashed": index // COLORS % 2 == 1,
            "is_shown": one.is_shown,
            "is_bold": one.is_bold,
            "last": f"{one.y[-1]:.4g}" if len(one.y) else "–",
        }
        for index, one in enumerate(lines)
    ]
    values = [
        {"x": _rounded(one.x), "y": _rounded(one.y), "px": across.place(one.x).round(1).tolist(),
         "py": upward.place(one.y).round(1).tolist()}
        for one in lines
    ]  # fmt: skip
    frame = {"width": WIDTH, "height": HEIGHT, "left": LEFT, "right": WIDTH - RIGHT, "top": TOP,
             "bottom": HEIGHT - BOTTOM}  # fmt: skip
    return render(
        "line_chart.html",
        title=title,
        series=drawn,
        values=values,
        frame=frame,
        x_ticks=across.labels(),
        y_ticks=upward.labels(),
        x_label=x_label,
        y_label=y_label,
    )


def _thinned(series: Series) -> Series:
    x, y = np.asarray(series.x, dtype=np.float64), np.asarray(series.y, dtype=np.float64)
    is_finite = np.isfinite(x) & np.isfinite(y)
    x, y = x[is_finite], y[is_finite]
    if len(x) > MOST_POINTS:
        bounds = np.linspace(0, len(x), MOST_POINTS + 1).astype(np.int64)
        sizes = np.diff(bounds)
        x, y = (np.add.reduceat(values, bounds[:-1]) / sizes for values in (x, y))
    return Series(series.name, x, y, series.is_shown, series.is_bold)


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0), *parts])


def _round_step(least: float) -> float:
    """The smallest of 1, 2, 5, 10 … that is at least `least`."""
    power = 10.0 ** math.floor(math.log10(least))
    return next(power * factor for factor in (1, 2, 5, 10) if power * factor >= least * (1 - 1e-9))


def _path(x: np.ndarray, y: np.ndarray) -> str:
    return "M" + "L".join(f"{one:.1f} {other:.1f}" for one, other in zip(x, y, strict=True)) if len(x) else ""


def _dots(x: np.ndarray, y: np.ndarray) -> str:
    return "".join(f"M{one:.1f} {other:.1f}h0" for one, other in zip(x, y, strict=True))


def _rounded(values: np.ndarray) -> list[float]:
    return [float(f"{value:.5g}") for value in values]
