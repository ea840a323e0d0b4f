"""Plots of a training's losses and metrics."""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Collection
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from detkit.errors import InputError
from detkit.files import write_whole

Curve = tuple[np.ndarray, np.ndarray]
"""Steps and values, both ``(N,)``."""


def plot_curves(metrics_csv: str | Path, path: str | Path) -> None:
    """Draw a training's losses and AP over its steps as a PNG, from the ``metrics.csv`` of Lightning's logger.

    ``epoch`` and ``step`` give the position of a row; ``lr…`` is left out. Metrics are ``AP``, ``AP50``, ``top1`` … and
    whatever else is under ``val/`` without a loss of that name under ``train/``; every other column is a loss. The
    metrics of single classes are not drawn. Any column may be missing, and cells may be empty.

    Raises:
        InputError: the file does not exist.
    """
    columns, epochs = read_curves(Path(metrics_csv))
    losses = {name: curve for name, curve in columns.items() if not is_metric(name, columns)}
    metrics = {name: curve for name, curve in columns.items() if name not in losses and "/AP/" not in name}
    figure = Figure(figsize=(12, 5), dpi=120, layout="constrained")
    left, right = figure.subplots(1, 2, sharex=True)
    _plot_losses(left, losses)
    _plot_metrics(right, metrics)
    for axis in (left, right):
        axis.set_xlabel("step")
        axis.grid(alpha=0.25)
        axis.spines[["top", "right"]].set_visible(False)
        _add_epochs(axis, epochs)
    encoded = io.BytesIO()
    figure.savefig(encoded, format="png")
    write_whole(Path(path), encoded.getvalue())


def read_curves(path: Path) -> tuple[dict[str, Curve], Curve]:
    """The columns of ``metrics.csv`` that hold numbers, by name, and the epoch at each step.

    Raises:
        InputError: the file does not exist.
    """
    rows, steps = _rows(path)
    curves = {name: _curve(rows, name, steps) for name in (rows[0] if rows else ())}
    epochs = curves.pop("epoch", (steps[:0], steps[:0]))
    drawn = {name: curve for name, curve in curves.items() if len(curve[0]) and not re.match(r"lr|step$", name)}
    return drawn, epochs


def not_finite(path: Path) -> dict[str, int]:
    """The columns of ``metrics.csv`` in which NaN or infinity was logged, and the first step of each.

    Raises:
        InputError: the file does not exist.
    """
    found: dict[str, int] = {}
    for row, step in zip(*_rows(path), strict=True):
        for name, text in row.items():
            if text and text.strip("+-").lower() in ("nan", "inf"):
                found.setdefault(name, int(step))
    return found


def _rows(path: Path) -> tuple[list[dict[str, str]], np.ndarray]:
    """The rows of the file, and the step of each."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
    except FileNotFoundError:
        raise InputError(f"{path} does not exist; give the metrics.csv of a training run") from None
    logged = [_number(row.get("step")) for row in rows]
    return rows, np.array([index if math.isnan(step) else step for index, step in enumerate(logged)])


def _curve(rows: list[dict[str, str]], name: str, steps: np.ndarray) -> Curve:
    values = np.array([_number(row.get(name)) for row in rows])
    logged = np.isfinite(values)
    return steps[logged], values[logged]


def _number(text: str | None) -> float:
    try:
        return float(text or "")
    except ValueError:  # an empty cell, or a word
        return math.nan


def is_metric(name: str, columns: Collection[str]) -> bool:
    """Whether a column holds a metric; others hold losses. See `plot_curves`."""
    if re.fullmatch(r"A[PR]\d*[sml]?", _term(name)):
        return True
    return name.startswith("val/") and name != "val/loss" and f"train/{name.removeprefix('val/')}" not in columns


def _plot_losses(axis: Axes, losses: dict[str, Curve]) -> None:
    """Training losses: faint as logged, opaque as smoothed; validation losses dashed in the color of the same term."""
    terms = sorted({_term(name) for name in losses}, key=lambda term: (term != "loss", term))
    colors: dict[str, Any] = {term: matplotlib.colormaps["tab10"](index % 10) for index, term in enumerate(terms)}
    colors["loss"] = "black"
    for name, (steps, values) in sorted(losses.items(), key=lambda item: terms.index(_term(item[0]))):
        color, validation = colors[_term(name)], name.startswith("val")
        smooth = smoothed(values)
        if len(values) > 20:
            axis.plot(steps, values, color=color, alpha=0.15, linewidth=0.8)
        style: dict[str, Any] = {"linestyle": "--", "marker": ".", "markersize": 5} if validation else {}
        axis.plot(steps, smooth, color=color, linewidth=2.2 if name.endswith("/loss") else 1.4, label=name, **style)
    highest = [np.percentile(values, 98) for _, values in losses.values()]
    axis.set(title="Losses", ylim=(0, 1.1 * max(highest, default=0) or 1))
    _name_curves(axis, losses)


def _plot_metrics(axis: Axes, metrics: dict[str, Curve]) -> None:
    """AP and AR in percent; AP alone is bold."""
    order = sorted(metrics, key=lambda name: (not name.endswith("/AP"), "AR" in name))
    for index, name in enumerate(order):
        steps, values = metrics[name]
        measured = values >= 0  # -1 means that there was nothing to measure
        style: dict[str, Any] = {"color": matplotlib.colormaps["tab10"](index % 10), "linewidth": 1.2, "alpha": 0.85}
        if name.endswith("AP"):
            style = {"color": "black", "linewidth": 2.6}
        line = "--" if "/AR" in name else "-"
        axis.plot(steps[measured], 100 * values[measured], line, marker="o", markersize=3, label=name, **style)
    precise = not metrics or any(_term(name).startswith("A") for name in metrics)
    axis.set(title="Average precision and recall, %" if precise else "Accuracy, %", ylim=(0, None))
    _name_curves(axis, metrics)


def _name_curves(axis: Axes, curves: dict[str, Curve]) -> None:
    if curves:
        axis.legend(fontsize=8, ncols=3, loc="upper center", bbox_to_anchor=(0.5, -0.14), frameon=False)
    else:
        axis.text(0.5, 0.5, "nothing logged", ha="center", va="center", color="gray", transform=axis.transAxes)


def _term(name: str) -> str:
    return name.rpartition("/")[2]


def smoothed(values: np.ndarray) -> np.ndarray:
    """The moving average over a fortieth of the curve."""
    half = len(values) // 80
    if half == 0:
        return values
    summed = np.concatenate([[0.0], np.cumsum(values)])
    index = np.arange(len(values))
    first, last = np.maximum(index - half, 0), np.minimum(index + half + 1, len(values))
    return (summed[last] - summed[first]) / (last - first)


def _add_epochs(axis: Axes, epochs: Curve) -> None:
    """A second axis above with the epochs."""
    steps, numbers = epochs
    if len(numbers) == 0 or numbers.max() == 0:
        return
    first = {number: steps[numbers == number].min() for number in np.unique(numbers)}
    labeled = list(first)[:: math.ceil(len(first) / 8)]
    above = axis.secondary_xaxis("top")
    above.set_xticks(
        [first[number] for number in labeled], [f"{number:g}" for number in labeled], fontsize=8, color="gray"
    )
    above.set_xlabel("epoch", fontsize=8, color="gray")
    above.spines["top"].set_visible(False)
    above.tick_params(color="lightgray")
