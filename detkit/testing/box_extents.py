"""Whether boxes hold what they are boxes of, which tells corners from widths where the numbers alone do not."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from detkit.boxes import box_area
from detkit.structures import Target
from detkit.testing.contract import require

_SLACK = 1.1  # by which an area may exceed that of its box: annotations are rounded


def check_extents(targets: Sequence[Target], owner: str) -> None:
    """Most objects lie in their boxes: no area is larger than that of the box, and masks do not reach far out of it.

    Boxes given as x y width height pass for corners where the objects are wide and lie at the upper left.

    Args:
        targets: of some images; those without areas and masks tell nothing.
        owner: name of their data set.

    Raises:
        ContractError: most of the boxes are too small for their areas or masks.
    """
    for name, fitting in (("areas", _areas_fit), ("masks", _masks_fit)):
        fits = [one for one in map(fitting, targets) if one is not None]
        count = sum(map(len, fits))
        outside = sum(int((~one).sum()) for one in fits)
        require(
            2 * outside <= count,
            f"{owner}: the {name} of {outside} of {count} objects do not fit into their boxes: give boxes as "
            "x1 y1 x2 y2, not as x y width height",
        )


def _areas_fit(target: Target) -> Tensor | None:
    """Of each object; None where that is not known."""
    if target.boxes is None or target.area is None:
        return None
    return target.area <= _SLACK * box_area(target.boxes) + 1


def _masks_fit(target: Target) -> Tensor | None:
    """Of each object whether at least half of its mask lies in its box; None where that is not known."""
    if target.boxes is None or not isinstance(target.masks, Tensor):
        return None
    height, width = target.masks.shape[1:]
    x, y = torch.arange(width) + 0.5, torch.arange(height) + 0.5
    x1, y1, x2, y2 = target.boxes[:, :, None].unbind(dim=1)
    columns, rows = (x > x1 - 1) & (x < x2 + 1), (y > y1 - 1) & (y < y2 + 1)
    inside = target.masks & rows[:, :, None] & columns[:, None, :]
    return 2 * inside.sum(dim=(1, 2)) >= target.masks.sum(dim=(1, 2))
