"""Losses that torch does not have. Those of boxes are ``1 - paired_iou(...)``, see `detkit.ops.iou`."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

SMOOTH_L1_BETA = 1 / 9  # as published code for Faster R-CNN has it: its sigma is 3 (Fast R-CNN, eq. 3)


def sigmoid_focal_loss(logits: Tensor, targets: Tensor, alpha: float = 0.25, gamma: float = 2.0) -> Tensor:
    """Cross-entropy that counts little where the answer is right already (Lin 2017, eq. 5): ``-a (1 - p)^g log(p)``.

    ``p`` is the probability that the logit gives to what is true. Computed in float32, float64 when given so.

    Args:
        logits: ``(...,)``, each a question of its own.
        targets: ``(...,)`` bool, whether the answer is yes.
        alpha: ``a`` where the answer is yes; ``1 - alpha`` where it is no.
        gamma: how much less a right answer counts; 0 is cross-entropy.

    Returns:
        The loss of each logit ``(...,)``.
    """
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    of_truth = torch.where(targets, logits, -logits)
    # (1 - p)^gamma through its logarithm: exact where p is close to 1, and its gradient is finite everywhere.
    doubt = torch.exp(gamma * F.logsigmoid(-of_truth))
    return torch.where(targets, -alpha, alpha - 1) * doubt * F.logsigmoid(of_truth)


def focal_losses(
    logits: Tensor,
    image: Tensor,
    place: Tensor,
    labels: Tensor,
    ignored: Tensor,
    alpha: float = 0.25,
    gamma: float = 2.0,
) -> Tensor:
    """`sigmoid_focal_loss` of each image ``(B,)``, summed over classes and over all places but ignored ones.

    Args:
        logits: ``(B, P, K)`` of P places, each class a question of its own.
        image: ``(M,)`` int64, of each place that has an object its image.
        place: ``(M,)`` int64, which of the P it is.
        labels: ``(M,)`` int64, the class of its object.
        ignored: ``(B, P)`` bool, places that learn nothing.
        alpha: see `sigmoid_focal_loss`.
        gamma: see `sigmoid_focal_loss`.
    """
    truth = torch.zeros_like(logits, dtype=torch.bool)
    truth[image, place, labels] = True
    losses = sigmoid_focal_loss(logits, truth, alpha, gamma)
    return losses.masked_fill(ignored[..., None], 0).sum(dim=(1, 2))


def smooth_l1(predicted: Tensor, wanted: Tensor, beta: float = SMOOTH_L1_BETA) -> Tensor:
    """Smooth L1, summed over everything; float32.

    Args:
        predicted: ``(...,)``.
        wanted: ``(...,)``, float32.
        beta: where it turns from a square to a straight line; 0 is L1.
    """
    return F.smooth_l1_loss(predicted.float(), wanted, beta=beta, reduction="sum")


def smooth_l1_of_each(predicted: Tensor, wanted: Tensor, beta: float = SMOOTH_L1_BETA) -> Tensor:
    """Smooth L1 of each row ``(...,)`` of `predicted` and `wanted` ``(..., 4)``; float32. See `smooth_l1`."""
    return F.smooth_l1_loss(predicted.float(), wanted, beta=beta, reduction="none").sum(dim=-1)


def binary_cross_entropy(logits: Tensor, targets: Tensor) -> Tensor:
    """Cross-entropy of each of `logits` ``(...,)``, a question of its own, with `targets` ``(...,)`` in [0, 1]."""
    return F.binary_cross_entropy_with_logits(logits, targets, reduction="none")
