"""Losses of the overlap of regions: Tversky and Dice."""

from __future__ import annotations

import torch
from torch import Tensor

from detkit.heads.pixel.batch_labels import IGNORED
from detkit.heads.pixel.criteria.criterion import PixelCriterion
from detkit.precise import precise


class Tversky(PixelCriterion):
    """One minus the Tversky index, the mean over the classes that are in the batch (Salehi 2017, equations 1 and 2).

        (TP + smooth) / (TP + alpha FP + beta FN + smooth)

    of a class, where ``TP``, ``FP`` and ``FN`` are sums of probabilities over all pixels of the batch.

    Args:
        alpha: weight of false positives.
        beta: weight of false negatives; more than `alpha` favors recall.
        smooth: pixels added to both, so that a class of a few pixels does not change the loss abruptly.
    """

    def __init__(self, alpha: float = 0.3, beta: float = 0.7, smooth: float = 1.0) -> None:
        self.alpha, self.beta, self.smooth = alpha, beta, smooth

    def __call__(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """See `PixelCriterion`."""
        probabilities = precise(logits).softmax(dim=1)
        truth = class_pixels(labels, logits.shape[1])
        factors = (labels != IGNORED)[:, None].to(probabilities.dtype)
        if weights is not None:
            factors = factors * weights[:, None]
        pixels = (0, 2, 3)
        hits = (factors * truth * probabilities).sum(dim=pixels)
        false_positives = (factors * probabilities).sum(dim=pixels) - hits
        misses = (factors * truth).sum(dim=pixels) - hits
        overlap = hits + self.smooth
        index = overlap / (overlap + self.alpha * false_positives + self.beta * misses)
        return mean_of_present(1 - index, truth)


class Dice(Tversky):
    """One minus the Dice coefficient, the mean over the classes that are in the batch (Milletari 2016, section 3).

        (2 TP + smooth) / (2 TP + FP + FN + smooth)

    of a class, where ``TP``, ``FP`` and ``FN`` are sums of probabilities over all pixels of the batch. The paper has
    their squares in the denominator.

    Args:
        smooth: pixels added to both, so that a class of a few pixels does not change the loss abruptly.
    """

    def __init__(self, smooth: float = 1.0) -> None:
        super().__init__(0.5, 0.5, smooth / 2)


def class_pixels(labels: Tensor, num_classes: int) -> Tensor:
    """Whether a pixel is of each class, ``(B, K, H, W)`` bool of `labels` ``(B, H, W)``; of none where it has none."""
    return labels[:, None] == torch.arange(num_classes, device=labels.device)[:, None, None]


def mean_of_present(losses: Tensor, truth: Tensor) -> Tensor:
    """The mean of the `losses` ``(K,)`` of classes over those of any pixel in `truth` ``(B, K, H, W)``; 0 of none."""
    present = truth.any(dim=3).any(dim=2).any(dim=0).to(losses.dtype)
    return (losses * present).sum() / present.sum().clamp(min=1)
