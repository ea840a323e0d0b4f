"""Focal loss of pixels, over a softmax."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from detkit.heads.pixel.criteria.criterion import PixelCriterion
from detkit.heads.pixel.criteria.cross_entropy import class_shares, pixel_losses, weighted_mean


class Focal(PixelCriterion):
    """Cross-entropy with less weight on easy pixels, ``-(1 - p)^gamma log(p)`` (Lin 2017, equation 4), their mean.

    ``p`` is the softmax's probability of the pixel's class.

    Args:
        gamma: the focusing parameter; 0 is cross-entropy.
        class_weights: factor of the pixels of each class, by which the mean is weighted too; None: 1.
    """

    def __init__(self, gamma: float = 2.0, class_weights: Sequence[float] | None = None) -> None:
        self.gamma = gamma
        self.class_weights = None if class_weights is None else list(class_weights)

    def __call__(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """See `PixelCriterion`."""
        losses = pixel_losses(logits, labels)
        # 1 - p, exact where p is close to 1; above 0, where the slope of a root would be infinite.
        rest = (-torch.expm1(-losses)).clamp(min=torch.finfo(losses.dtype).tiny)
        return weighted_mean(rest**self.gamma * losses, class_shares(logits, labels, self.class_weights), weights)
