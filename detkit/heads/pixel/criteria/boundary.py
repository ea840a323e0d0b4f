"""Cross-entropy with more weight on pixels near another class."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from detkit.errors import InputError
from detkit.heads.pixel.batch_labels import IGNORED
from detkit.heads.pixel.criteria.criterion import PixelCriterion
from detkit.heads.pixel.criteria.cross_entropy import class_shares, pixel_losses, weighted_mean


class BoundaryCrossEntropy(PixelCriterion):
    """Cross-entropy whose mean is weighted by `factor` near boundaries of classes.

    Args:
        factor: weight of a pixel near a boundary; 1 elsewhere.
        radius: how near: a pixel of another class lies within a square of ``2 radius + 1`` pixels around it.
        class_weights: factor of the pixels of each class, by which the mean is weighted too; None: 1.
    """

    def __init__(self, factor: float = 5.0, radius: int = 3, class_weights: Sequence[float] | None = None) -> None:
        if radius < 1:
            raise InputError(f"the radius of boundaries must be at least 1 pixel, got {radius}")
        self.factor, self.radius = factor, radius
        self.class_weights = None if class_weights is None else list(class_weights)

    def __call__(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """See `PixelCriterion`."""
        near = near_other_classes(labels, self.radius)
        shares = class_shares(logits, labels, self.class_weights)
        return weighted_mean(pixel_losses(logits, labels), torch.where(near, self.factor * shares, shares), weights)


def near_other_classes(labels: Tensor, radius: int) -> Tensor:
    """Which pixels ``(B, H, W)`` bool of `labels` see a pixel of another class within `radius` along both axes."""
    known = labels != IGNORED
    most = _largest_around(labels.float(), radius)  # pixels without a class are the least
    least = -_largest_around((-labels).float().masked_fill(~known, -torch.inf), radius)
    return known & ((most != labels) | (least != labels))


def _largest_around(values: Tensor, radius: int) -> Tensor:
    """The maximum of `values` ``(B, H, W)`` in the square around each, along one axis and then the other."""
    across = F.max_pool2d(values[:, None], (1, 2 * radius + 1), stride=1, padding=(0, radius))
    return F.max_pool2d(across, (2 * radius + 1, 1), stride=1, padding=(radius, 0))[:, 0]
