"""The verdict of a comparison in words."""

from __future__ import annotations

import math

from detkit.evaluation.tables.shown_numbers import PERCENT, decimals_of, shown
from detkit.trust.comparison.compared import Comparison
from detkit.trust.comparison.difference import Difference
from detkit.trust.comparison.images_needed import POWER, smallest_difference

_FURTHER_DECIMALS = 3


def verdict(comparison: Comparison) -> str:
    """One sentence: whether the two differ, by how much, and how surely."""
    head, images, name = comparison.head, _images(comparison.images), comparison.headline
    first, second = comparison.names
    if math.isnan(head.difference):
        return f"There is nothing to compare {first} and {second} by: {name} has no objects to measure with."
    if comparison.is_equal and not head.first:
        return f"{name} is 0 for both {first} and {second} over {images}, so that nothing tells them apart."
    if comparison.is_equal:
        value = shown(head.first, comparison.scale)
        return (
            f"{first} and {second} are identical: {name} {value} over {images}, and every other number and resample "
            "too."
        )
    if math.isnan(head.low):
        return f"{images} cannot tell whether {first} and {second} differ: {name} {_values(head, comparison)}."
    if comparison.better is None:
        return f"{first} and {second} do not differ measurably: {name} {_values(head, comparison)} over {images}."
    # From the better one's point of view; of errors, the better one has the lower number.
    values = (head.first, head.second) if comparison.better == first else (head.second, head.first)
    low, high = sorted((abs(head.low), abs(head.high)))
    by, *bounds = _same_decimals((abs(head.difference), low, high), comparison.scale)
    return (
        f"{comparison.better} is better by {by} {name} [{', '.join(bounds)}]: "
        f"{' against '.join(shown(value, comparison.scale) for value in values)} over {images}."
    )


def outlook(comparison: Comparison) -> str | None:
    """One sentence: the least difference that these images show, and how many show `Comparison.difference_to_see`;
    None if none can."""
    needed = comparison.images_needed
    if needed is None:
        return None
    smallest = shown(smallest_difference(comparison.head.standard_error, comparison.confidence), comparison.scale)
    asked = comparison.difference_to_see
    # Without a decimal where it is a whole number, as of percent.
    difference = "1" if comparison.scale == PERCENT else shown(asked or 0.0, comparison.scale)
    return (
        f"At {100 * comparison.confidence:g} % with {100 * POWER:g} % power, {_images(comparison.images)} show "
        f"a difference of {smallest} {comparison.headline} or more; a difference of {difference} needs about "
        f"{_images(needed)} like these."
    )


def _values(head: Difference, comparison: Comparison) -> str:
    """``38.3 against 38.1, difference 0.2 [-0.9, 1.2]``."""
    values = f"{shown(head.first, comparison.scale)} against {shown(head.second, comparison.scale)}"
    if math.isnan(head.low):
        return values
    by, low, high = _same_decimals((head.difference, head.low, head.high), comparison.scale)
    return f"{values}, difference {by} [{low}, {high}]"


def _same_decimals(values: tuple[float, ...], scale: float) -> list[str]:
    """The values with so many decimals that none but 0 is shown as 0, so that the side of 0 stays visible."""
    scaled = [scale * value for value in values]
    first = decimals_of(scale)
    for decimals in range(first, first + _FURTHER_DECIMALS):
        if all(value == 0 or round(value, decimals) != 0 for value in scaled):
            break
    return [f"{value:.{decimals}f}" for value in scaled]


def _images(count: int) -> str:
    return f"{count:,} image{'' if count == 1 else 's'}"
