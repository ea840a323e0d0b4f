"""Cross-entropy of the hardest pixels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.heads.pixel.batch_labels import IGNORED
from detkit.heads.pixel.criteria.criterion import PixelCriterion
from detkit.heads.pixel.criteria.cross_entropy import class_shares, pixel_losses, weighted_mean


class OHEM(PixelCriterion):
    """Cross-entropy of the hard pixels alone: online hard example mining (Shrivastava 2016), of pixels.

    A pixel is hard if the probability of its class is below `threshold`, or among the least of the batch. The loss is
    the mean over the hard pixels.

    Args:
        threshold: a probability.
        min_kept: so many of the hardest pixels are hard whatever their probability, times the images of the batch.
        class_weights: factor of the pixels of each class, by which the mean is weighted too; None: 1.
    """

    def __init__(
        self, threshold: float = 0.7, min_kept: int = 100_000, class_weights: Sequence[float] | None = None
    ) -> None:
        if not 0 <= threshold <= 1 or min_kept < 1:
            raise InputError(
                f"OHEM needs a threshold in [0, 1] and min_kept of at least 1, got {threshold} and {min_kept}"
            )
        self.threshold, self.min_kept = threshold, min_kept
        self.class_weights = None if class_weights is None else list(class_weights)

    def __call__(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """See `PixelCriterion`."""
        losses = pixel_losses(logits, labels)
        hard = self.hard_pixels(torch.exp(-losses.detach()), labels)
        return weighted_mean(losses, class_shares(logits, labels, self.class_weights) * hard, weights)

    def hard_pixels(self, probabilities: Tensor, labels: Tensor) -> Tensor:
        """Which pixels ``(B, H, W)`` bool are hard.

        Args:
            probabilities: ``(B, H, W)`` of the class of each pixel.
            labels: ``(B, H, W)`` int64, -1 for pixels without a class, which are never hard.
        """
        known = labels != IGNORED
        of_known = probabilities.masked_fill(~known, torch.inf)
        count = min(self.min_kept * len(labels), labels.numel())
        if count == 0:  # of no images
            return known
        # Infinite where fewer pixels have a class.
        easiest_kept = of_known.flatten().topk(count, largest=False, sorted=False).values.max()
        return known & ((of_known < self.threshold) | (of_known <= easiest_kept))
