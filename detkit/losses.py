"""Losses that torch lacks: focal loss, and smooth L1 and cross-entropy as heads reduce them.

Losses of boxes such as GIoU are ``1 - paired_iou(...)``, see `detkit.ops.iou`.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from detkit.precise import precise

SMOOTH_L1_BETA = 1 / 9  # as published code for Faster R-CNN has it: its sigma is 3 (Fast R-CNN, eq. 3)


def sigmoid_focal_loss(logits: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Focal loss: cross-entropy with less weight on easy predictions (Lin 2017, eq. 5), ``-a (1 - p)^g log(p)``.

    ``p`` is the predicted probability of the true class. Computed in float32; float64 stays float64.

    Args:
        logits: ``(...,)``, of independent binary predictions.
        targets: ``(...,)`` bool.
        alpha: ``a`` for positives; ``1 - alpha`` for negatives.
        gamma: ``g``, the focusing parameter; 0 is cross-entropy.

    Returns:
        The loss of each logit ``(...,)``.
    """
    logits = precise(logits)
    true_logits = torch.where(targets, logits, -logits)
    # (1 - p)^gamma through its logarithm: exact where p is close to 1, and its gradient is finite everywhere.
    modulation = torch.exp(gamma * F.logsigmoid(-true_logits))
    return torch.where(targets, -alpha, alpha - 1) * modulation * F.logsigmoid(true_logits)


def focal_losses(
    logits: Tensor,
    image: Tensor,
    location: Tensor,
    labels: Tensor,
    ignored: Tensor | None,
    alpha: float = 0.25,
    gamma: float = 2.0,
) -> Tensor:
    """`sigmoid_focal_loss` per image ``(B,)``, summed over classes and over all locations that are not ignored.

    Args:
        logits: ``(B, P, K)`` of P locations, with independent classes.
        image: ``(M,)`` int64, of each positive location the index of its image.
        location: ``(M,)`` int64, its index in ``0..P-1``.
        labels: ``(M,)`` int64, the class of its object.
        ignored: ``(B, P)`` bool, locations without a loss; None where there are none.
        alpha: see `sigmoid_focal_loss`.
        gamma: see `sigmoid_focal_loss`.
    """
    truth = torch.zeros_like(logits, dtype=torch.bool)
    truth[image, location, labels] = True
    losses = sigmoid_focal_loss(logits, truth, alpha, gamma)
    if ignored is not None:
        losses = losses.masked_fill(ignored[..., None], 0)
    return losses.sum(dim=(1, 2))


def smooth_l1(predictions: Tensor, targets: Tensor, beta: float = SMOOTH_L1_BETA) -> Tensor:
    """Smooth L1, summed over all elements, in float32; float64 stays float64.

    Args:
        predictions: ``(...,)``.
        targets: ``(...,)`` float32.
        beta: the distance at which it changes from quadratic to linear; 0 is L1.
    """
    return F.smooth_l1_loss(precise(predictions), targets, beta=beta, reduction="sum")


def smooth_l1_per_box(predictions: Tensor, targets: Tensor, beta: float = SMOOTH_L1_BETA) -> Tensor:
    """Smooth L1 ``(...,)`` per row of `predictions` and `targets` ``(..., 4)``, in float32. See `smooth_l1`."""
    return F.smooth_l1_loss(precise(predictions), targets, beta=beta, reduction="none").sum(dim=-1)


def binary_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy ``(...,)`` of independent binary `logits` ``(...,)`` with `targets` ``(...,)`` in [0, 1]."""
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
