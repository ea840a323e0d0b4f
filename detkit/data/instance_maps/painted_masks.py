"""Masks of objects painted into one map."""

from __future__ import annotations

import torch
from torch import Tensor

from detkit.ops import RunLengths, rle_to_masks
from detkit.structures.image_fields import INSTANCES


def paint_masks(masks: Tensor | RunLengths, labels: Tensor, iscrowd: Tensor | None = None) -> Tensor:
    """The panoptic map of objects. A pixel of several objects belongs to the one with the smallest mask; crowd regions
    lie below all objects.

    Args:
        masks: ``(N, H, W)`` bool, or the same as run lengths.
        labels: ``(N,)`` int64.
        iscrowd: ``(N,)`` bool; None: no crowds.

    Returns:
        ``(H, W)`` int32, ``label * 65536 + instance``; an instance is the row of its object, from 1, and 0 for a crowd.
        -1 where there is no object.
    """
    pixels = rle_to_masks(masks)
    crowds = torch.zeros(len(labels), dtype=torch.bool) if iscrowd is None else iscrowd
    values = (labels * INSTANCES + torch.where(crowds, 0, torch.arange(1, len(labels) + 1))).int()
    areas = pixels.flatten(1).sum(dim=1)
    panoptic = torch.full(pixels.shape[1:], -1, dtype=torch.int32)
    # Large ones first, so that small ones stay in sight; rows of one size in their order.
    for row in sorted(range(len(labels)), key=lambda row: (not crowds[row], -int(areas[row]), row)):
        panoptic[pixels[row]] = values[row]
    return panoptic
