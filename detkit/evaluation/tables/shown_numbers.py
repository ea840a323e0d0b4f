"""Numbers of evaluators as texts: in percent where the evaluator says so, else as they are."""

from __future__ import annotations

import math

from detkit.evaluation.ground_truth import NOTHING_TO_MEASURE

PERCENT = 100.0
"""The `Evaluator.scale` of numbers in 0..1 that are shown in percent."""


def shown(value: float, scale: float, decimals: int | None = None) -> str:
    """A number as it is shown; a dash where there is nothing to measure.

    Args:
        value: as the evaluator computes it.
        scale: `Evaluator.scale`.
        decimals: how many are shown; None: `decimals_of` the scale.
    """
    if value == NOTHING_TO_MEASURE:
        return "–"
    return f"{scale * value:.{decimals_of(scale) if decimals is None else decimals}f}"


def signed(value: float, scale: float, decimals: int | None = None) -> str:
    """A difference of numbers as `shown`, with its sign; a dash where it is unknown."""
    if math.isnan(value):
        return "–"
    return f"{scale * value:{'+' if value else ''}.{decimals_of(scale) if decimals is None else decimals}f}"


def decimals_of(scale: float) -> int:
    """1 for percent. Of other numbers nothing is known of their size, so that they have 3."""
    return 1 if scale == PERCENT else 3


def unit_of(scale: float) -> str:
    """What stands after a number: a percent sign with its space, or nothing."""
    return " %" if scale == PERCENT else ""
