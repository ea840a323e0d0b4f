"""Cross-entropy of pixels, with weights of classes."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor
from torch.nn import functional as F

from detkit.distributed import mean_count
from detkit.heads.pixel.batch_labels import IGNORED
from detkit.heads.pixel.criteria.criterion import PixelCriterion


class CrossEntropy(PixelCriterion):
    """Cross-entropy over the classes, the mean over pixels that have one.

    Args:
        class_weights: factor of the pixels of each class, by which the mean is weighted too; None: 1.
    """

    def __init__(self, class_weights: Sequence[float] | None = None) -> None:
        self.class_weights = None if class_weights is None else list(class_weights)

    def __call__(self, logits: Tensor, labels: Tensor, weights: Tensor | None = None) -> Tensor:
        """See `PixelCriterion`."""
        factors = None if self.class_weights is None else logits.new_tensor(self.class_weights).float()
        losses = F.cross_entropy(logits.float(), labels, weight=factors, ignore_index=IGNORED, reduction="none")
        known = labels != IGNORED
        shares = known.float() if factors is None else factors[labels.clamp(min=0)] * known
        if weights is not None:
            losses = losses * weights
        return losses.sum() / mean_count(shares.sum())
