"""Losses that torch does not have. Those of boxes are ``1 - paired_iou(...)``, see `detkit.ops.iou`."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


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
