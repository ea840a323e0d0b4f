"""Losses of pixels: each compares the logits of a batch with its label maps."""

from detkit.heads.pixel.criteria.criterion import PixelCriterion
from detkit.heads.pixel.criteria.cross_entropy import CrossEntropy

__all__ = ["CrossEntropy", "PixelCriterion"]
