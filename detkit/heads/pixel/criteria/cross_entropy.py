"""Cross-entropy of pixels, with weights of classes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from detkit.distributed import mean
from detkit.errors import InputError
from detkit.heads.pixel.batch_labels import IGNORED
from detkit.heads.pixel.criteria.criterion import PixelCriterion
from detkit.precise import precise
from detkit.structures.device_transfer import to_device


class CrossEntropy(PixelCriterion):
    """Cross-entropy over the classes, the mean over pixels that have one.

    FCN's "heavy learning" is ``CrossEntropy(normalized=False)`` with one image a step, a momentum of 0.99 and learning
    rates from 1e-10 down to 1e-14 (Shelhamer 2017, section 4.3).

    Args:
        class_weights: factor of the pixels of each class, by which the mean is weighted too; None: 1.
        normalized: divide by the number of pixels; False: by that of images alone, so that the loss of an image is the
            sum over its pixels, as in Caffe with ``normalize: false``.
    """

    def __init__(self, class_weights: Sequence[float] | None = None, normalized: bool = True) -> None:
        self.class_weights = None if class_weights is None else list(class_weights)
        self.normalized = normalized

    def __call__(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """See `PixelCriterion`."""
        shares = class_shares(logits, labels, self.class_weights)
        if self.normalized:
            return weighted_mean(pixel_losses(logits, labels), shares, weights)
        factors = shares if weights is None else shares * weights
        return (pixel_losses(logits, labels) * factors).sum() / max(1, len(labels))


def pixel_losses(logits: Tensor, labels: Tensor) -> Tensor:
    """The cross-entropy of each pixel ``(B, H, W)``, 0 where it has no class; see `PixelCriterion`."""
    return F.cross_entropy(precise(logits), labels, ignore_index=IGNORED, reduction="none")


def class_shares(logits: Tensor, labels: Tensor, class_weights: Sequence[float] | None) -> Tensor:
    """The weight of the class of each pixel ``(B, H, W)`` float32, 0 where it has none; all are 1 for None.

    Raises:
        InputError: there is not one weight for each class of the logits.
    """
    known = labels != IGNORED
    if class_weights is None:
        return known.float()
    if len(class_weights) != logits.shape[1]:
        raise InputError(
            f"class_weights has {len(class_weights)} factors, but there are logits of {logits.shape[1]} classes: give "
            "one for each"
        )
    factors = to_device(torch.tensor(class_weights, dtype=torch.float32), labels.device)
    return factors[labels.clamp(min=0)] * known


def weighted_mean(losses: Tensor, shares: Tensor, weights: Tensor | None = None) -> Tensor:
    """The mean of `losses` weighted by `shares`, whose sum is a mean over processes; `weights` are mere factors."""
    losses = losses * shares
    if weights is not None:
        losses = losses * weights
    total = shares.sum()
    if torch.is_grad_enabled():  # in validation, processes may have different numbers of batches
        total = mean(total)
    # However small: class weights may be shares of pixels. Without any, the sum is 0.
    return losses.sum() / total.clamp(min=torch.finfo(total.dtype).tiny)
