"""`RowPlacements`: the boxes and points of all images of a batch moved at once."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from detkit.geometry.placement import Placement


class RowPlacements:
    """The placements of rows that several images hold, which are joined in one tensor.

    Each row moves exactly as its image's `Placement` moves it. What the host computes here crosses to the device once.

    Args:
        placements: of each image; `can_join` holds for them.
        counts: the number of rows of each image.
    """

    def __init__(self, placements: Sequence[Placement], counts: Sequence[int]) -> None:
        self._placements, self._counts = placements, counts

    @staticmethod
    def can_join(placements: Sequence[Placement]) -> bool:
        """Whether these placements can move rows at once: those that neither turn nor mirror."""
        return all(one.is_axis_aligned and one.matrix[0][0] > 0 and one.matrix[1][1] > 0 for one in placements)

    def boxes(self, boxes: Tensor) -> Tensor:
        """`boxes` ``(N, 4)`` x1 y1 x2 y2 of the given frames, in the new ones; they are not clipped."""
        return self._moved(boxes, 2)

    def points(self, points: Tensor) -> Tensor:
        """`points` ``(N, J, 2)`` x y of the given frames, in the new ones."""
        return self._moved(points, 1)

    def _moved(self, values: Tensor, corners: int) -> Tensor:
        steps = np.array([_steps(one) for one in self._placements])  # (B, 3, 2)
        used = (steps != _NOTHING).any(axis=(0, 2)).tolist()
        if not any(used):
            return values
        of_rows = np.repeat(np.tile(steps, corners), self._counts, axis=0).reshape(
            len(values), 3, *(1,) * (values.ndim - 2), 2 * corners
        )
        operands = torch.from_numpy(of_rows).to(values.dtype).to(values.device, non_blocking=not values.is_cpu)
        begins, scales, new_begins = operands.unbind(1)
        values = values - begins if used[0] else values
        values = values * scales if used[1] else values
        return values + new_begins if used[2] else values


_NOTHING = np.array([[0.0], [1.0], [0.0]])
"""To subtract, to multiply with, to add."""


def _steps(placement: Placement) -> tuple[tuple[float, float], ...]:
    """What is subtracted from x and y, what their differences are multiplied with, what is added to the products."""
    x, y = placement.axes
    return (x.begin, y.begin), (x.scale, y.scale), (x.new_begin, y.new_begin)


def move_boxes(boxes: Tensor, counts: Sequence[int], placements: Sequence[Placement]) -> Tensor:
    """`boxes` ``(N, 4)`` of several images, `counts` of each, moved as their `placements` move them."""
    if RowPlacements.can_join(placements):
        return RowPlacements(placements, counts).boxes(boxes)
    parts = zip(placements, torch.split(boxes, list(counts)), strict=True)
    return torch.cat([placement.boxes(part) for placement, part in parts])


def move_points(points: Tensor, counts: Sequence[int], placements: Sequence[Placement]) -> Tensor:
    """`points` ``(N, J, 2)`` of several images, `counts` of each, moved as their `placements` move them."""
    if RowPlacements.can_join(placements):
        return RowPlacements(placements, counts).points(points)
    parts = zip(placements, torch.split(points, list(counts)), strict=True)
    return torch.cat([placement.points(part) for placement, part in parts])
