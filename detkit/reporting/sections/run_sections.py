"""The sections of a run: its training, its recipe, its environment, its licenses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from markupsafe import Markup

from detkit.reporting.parts.data_table import data_table
from detkit.reporting.parts.line_chart import Series, line_chart
from detkit.reporting.parts.rendering import paragraph, render
from detkit.reporting.section import Section
from detkit.visualization.curves import Curve, is_metric, read_curves


def training_section(metrics_csv: Path) -> Section:
    """The losses and metrics over the steps of a training.

    Raises:
        InputError: there is no such file.
    """
    columns, (steps, epochs) = read_curves(metrics_csv)
    losses = {name: curve for name, curve in columns.items() if not is_metric(name, columns)}
    metrics = {name: curve for name, curve in columns.items() if name not in losses and "/AP/" not in name}
    parts = [_losses(losses)] if losses else []
    if metrics:
        named = [
            Series(_percent_name(name), x, 100 * np.where(y < 0, np.nan, y), index == 0 or index < 3, index == 0)
            for index, (name, (x, y)) in enumerate(sorted(metrics.items(), key=_headline_first))
        ]
        highest = max(float(np.nanmax(one.y, initial=0.0)) for one in named)
        parts.append(
            line_chart("Metrics of the validations", named, "step", "%", y_limits=(0.0, 1.05 * highest or 1.0))
        )
    if not parts:
        parts = [paragraph("Nothing was logged.")]
    ran = f"{int(steps[-1]) + 1} steps, {int(epochs[-1]) + 1} epochs" if len(steps) else "no step"
    return Section("training", "Training", [paragraph(f"{ran} are in {metrics_csv.name}."), *parts])


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


def _headline_first(item: tuple[str, Curve]) -> tuple[bool, str]:
    name = item[0]
    return not name.endswith(("/AP", "/top1", "/top1_localization", "/mAP")), name


def _percent_name(name: str) -> str:
    return name.removeprefix("val/")
