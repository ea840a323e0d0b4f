"""Heads: each answers one question by the three verbs `forward`, `losses` and `decode`."""

from detkit.heads.box import BoxHead
from detkit.heads.dense_head import DenseHead
from detkit.heads.keypoint import KeypointHead
from detkit.heads.mask import MaskHead
from detkit.heads.region_branch import InstanceBranch, RegionBranch
from detkit.heads.region_trunk import AveragePool, ConvolutionsThenFullyConnected, RegionTrunk, TwoFullyConnected
from detkit.heads.rpn import RPN

__all__ = [
    "RPN",
    "AveragePool",
    "BoxHead",
    "ConvolutionsThenFullyConnected",
    "DenseHead",
    "InstanceBranch",
    "KeypointHead",
    "MaskHead",
    "RegionBranch",
    "RegionTrunk",
    "TwoFullyConnected",
]
