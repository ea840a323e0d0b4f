"""Losses of pixels: each compares the logits of a batch with its label maps."""

from detkit.heads.pixel.criteria.boundary import BoundaryCrossEntropy
from detkit.heads.pixel.criteria.criterion import PixelCriterion
from detkit.heads.pixel.criteria.cross_entropy import CrossEntropy
from detkit.heads.pixel.criteria.focal import Focal
from detkit.heads.pixel.criteria.lovasz import LovaszSoftmax
from detkit.heads.pixel.criteria.ohem import OHEM
from detkit.heads.pixel.criteria.tversky import Dice, Tversky

__all__ = [
    "OHEM",
    "BoundaryCrossEntropy",
    "CrossEntropy",
    "Dice",
    "Focal",
    "LovaszSoftmax",
    "PixelCriterion",
    "Tversky",
]
