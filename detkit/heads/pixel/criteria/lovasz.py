"""The Lovász-softmax loss."""

from __future__ import annotations

import torch
from torch import Tensor

from detkit.heads.pixel.batch_labels import IGNORED
from detkit.heads.pixel.criteria.criterion import PixelCriterion
from detkit.heads.pixel.criteria.tversky import class_pixels, mean_of_present
from detkit.precise import precise


class LovaszSoftmax(PixelCriterion):
    """The Lovász extension of one minus the IoU, the mean over the classes that are in the batch (Berman 2018, eq. 11).

    The errors of a class are ``1 - p`` at its pixels and ``p`` at others (equation 8), of all pixels of the batch.
    """

    def __call__(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """See `PixelCriterion`."""
        probabilities = precise(logits).softmax(dim=1)
        truth = class_pixels(labels, logits.shape[1])
        errors = torch.where(truth, 1 - probabilities, probabilities)
        factors = (labels != IGNORED).to(errors.dtype)
        if weights is not None:
            factors = factors * weights
        # Pixels without a class come last, where they change nothing for the others.
        order = errors.detach().masked_fill((labels == IGNORED)[:, None], -1.0)
        order = _by_class(order).argsort(dim=1, descending=True)
        slopes = _slopes(_by_class(truth).gather(1, order), errors.dtype)
        sorted_errors = _by_class(errors * factors[:, None]).gather(1, order)
        return mean_of_present((sorted_errors * slopes).sum(dim=1), truth)


def _by_class(values: Tensor) -> Tensor:
    """``(K, B * H * W)`` of `values` ``(B, K, H, W)``."""
    return values.transpose(0, 1).flatten(1)


def _slopes(truth: Tensor, dtype: torch.dtype) -> Tensor:
    """The gradient ``(K, N)`` of the extension in the errors (equation 9), the largest error first.

    ``Jaccard(first i) - Jaccard(first i - 1)`` without the difference of almost equal numbers: a pixel of the class
    takes one from the intersection, another one adds one to the union.

    Args:
        truth: ``(K, N)`` bool, whether a pixel is of the class, in the order of the errors.
        dtype: of the result.
    """
    total = truth.sum(dim=1, keepdim=True)
    seen = truth.cumsum(dim=1)
    position = torch.arange(1, truth.shape[1] + 1, device=truth.device)
    left = (total - seen).to(dtype)
    union = (total + position - seen).to(dtype)
    # A class without pixels, whose union begins with 0, is in no mean.
    return torch.where(truth, 1 / union.clamp(min=1), left / (union * (union - 1)).clamp(min=1))
