"""Pairs of all locations with all boxes of a batch (FCOS).

P  locations     T  boxes
"""

from __future__ import annotations

import torch
from torch import Tensor

_MOST_PAIRS = 2**24  # of locations and objects that are compared at once: some 64 MB for each number of a pair


def chunks(boxes: int, locations: int) -> list[slice]:
    """Rows of so few boxes that their pairs with all locations fit in memory: mostly all at once."""
    size = max(1, _MOST_PAIRS // max(1, locations))
    return [slice(start, start + size) for start in range(0, boxes, size)]


def edges(points: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
    """The distances ``(T, P)`` of each location from the nearest and the farthest edge of each box.

    The nearest is positive where the location lies inside the box.
    """
    # Both axes at once, each with a row of locations for each box.
    locations, low, high = points.T[:, None], boxes[:, :2].T[..., None], boxes[:, 2:].T[..., None]
    before, after = locations - low, high - locations
    return torch.minimum(*torch.minimum(before, after)), torch.maximum(*torch.maximum(before, after))


def distances_from_centers(points: Tensor, boxes: Tensor) -> Tensor:
    """The distance ``(T, P)``, in x or in y, of each location from the center of each box, whichever is greater."""
    centers = (boxes[:, :2] + boxes[:, 2:]) / 2
    return torch.maximum(*(points.T[:, None] - centers.T[..., None]).abs())


def giou_losses(first: Tensor, second: Tensor) -> Tensor:
    """The sum of ``1 - GIoU`` of M boxes around the same locations, given by the distances ``(M, 4)`` of their edges.

    As `detkit.ops.iou.paired_iou` for these boxes, which overlap, with a third of the operations.
    """
    together = torch.stack((first, second, torch.minimum(first, second), torch.maximum(first, second)))
    widths, heights = (together[..., :2] + together[..., 2:]).unbind(dim=-1)
    first_area, second_area, common, hull = (widths * heights).unbind()
    union = first_area + second_area - common
    # GIoU is common / union - (hull - union) / hull.
    return 2 * len(first) - (torch.stack((common, union)) / torch.stack((union, hull))).sum()
