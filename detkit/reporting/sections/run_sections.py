"""The sections of a run: its training, its recipe, its environment, its licenses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from markupsafe import Markup

from detkit.evaluation import Evaluator
from detkit.evaluation.ground_truth import NOTHING_TO_MEASURE
from detkit.evaluation.tables.shown_numbers import PERCENT
from detkit.reporting.parts.data_table import data_table
from detkit.reporting.parts.line_chart import Series, line_chart
from detkit.reporting.parts.rendering import paragraph, render
from detkit.reporting.section import Section
from detkit.visualization.curves import Curve, is_metric, not_finite, read_curves

_SHOWN = 3
"""The curves of a chart that are shown before a reader asks for them, besides headlines."""


def training_section(metrics_csv: Path, evaluators: Mapping[str, Evaluator] | None = None) -> Section:
    """The losses and metrics over the steps of a training.

    Args:
        metrics_csv: what was logged.
        evaluators: by name, those of the validations. They say which metrics are headlines, and which are shown in
            percent; all other numbers are shown as they are.

    Raises:
        InputError: there is no such file.
    """
    columns, (steps, epochs) = read_curves(metrics_csv)
    losses = {name: curve for name, curve in columns.items() if not is_metric(name, columns)}
    metrics = {name: curve for name, curve in columns.items() if name not in losses and "/AP/" not in name}
    parts = [_losses(losses)] if losses else []
    parts += _metrics(metrics, _logged(evaluators or {}))
    broken = [f"{name} (first at step {step})" for name, step in not_finite(metrics_csv).items()]
    warning = f"NaN or infinity was logged, which is not drawn: {', '.join(broken)}." if broken else ""
    if warning:
        parts.insert(0, paragraph(warning))
    if not parts:
        parts = [paragraph("Nothing was logged.")]
    ran = f"{int(steps[-1]) + 1} steps, {int(epochs[-1]) + 1} epochs" if len(steps) else "no step"
    return Section("training", "Training", [paragraph(f"{metrics_csv.name} holds {ran}."), *parts], warning)


@dataclass(frozen=True)
class _Logged:
    """A metric of an evaluator in the logs."""

    scale: float
    is_headline: bool


def _logged(evaluators: Mapping[str, Evaluator]) -> dict[str, _Logged]:
    """The metrics of evaluators by the name of their column."""
    return {
        one.log_name(metric): _Logged(one.scale_of(metric), metric == one.headline)
        for one in evaluators.values()
        if one.evaluation is not None
        for metric in one.evaluation.metrics
    }


def _metrics(curves: Mapping[str, Curve], logged: Mapping[str, _Logged]) -> list[Markup]:
    """A chart of those in percent, and one of the others."""
    unknown = _Logged(1.0, False)
    order = sorted(curves, key=lambda name: (not logged.get(name, unknown).is_headline, name))
    charts = []
    for is_percent, title in ((True, "Metrics of the validations"), (False, "Other numbers of the validations")):
        own = [name for name in order if (logged.get(name, unknown).scale == PERCENT) == is_percent]
        named = []
        for index, name in enumerate(own):
            x, y = curves[name]
            facts = logged.get(name)
            if facts is not None:
                y = facts.scale * np.where(y == NOTHING_TO_MEASURE, np.nan, y)
            is_headline = facts is not None and facts.is_headline
            named.append(Series(name.removeprefix("val/"), x, y, is_headline or index < _SHOWN, is_headline))
        if not named:
            continue
        values = np.concatenate([one.y for one in named])
        highest, lowest = np.nanmax(values, initial=0.0), np.nanmin(values, initial=0.0)
        limits = (float(1.05 * lowest), float(1.05 * highest) or 1.0)
        charts.append(line_chart(title, named, "step", "%" if is_percent else "value", y_limits=limits))
    return charts


def recipe_section(text: str) -> Section:
    """The resolved recipe, as YAML."""
    return Section("recipe", "Recipe", [render("code.html", text=text, title="Resolved recipe")])


def facts_section(name: str, title: str, facts: Mapping[str, str]) -> Section:
    """Facts by their names."""
    rows = [[key, value] for key, value in facts.items()]
    return Section(name, title, [data_table(title, ["", ""], rows, sortable=False)])


def license_section(lines: Sequence[str], sources: Sequence[tuple[str, str, str]]) -> Section:
    """Where the weights come from: lines of text, and the name, origin and license of each source."""
    parts: list[Markup] = [paragraph(line) for line in lines]
    if sources:
        parts.append(data_table("Sources of the weights", ["weights", "from", "license"], sources, sortable=False))
    return Section("license", "Provenance and license", parts)


def _losses(losses: Mapping[str, Curve]) -> Markup:
    highest = max(float(np.percentile(values, 98)) for _, values in losses.values())
    order = sorted(losses, key=lambda name: (not name.endswith("loss"), name))
    series = [Series(name, *losses[name], True, name.endswith("loss")) for name in order]
    return line_chart("Losses", series, "step", "loss", y_limits=(0.0, 1.1 * max(highest, 1e-9)))
