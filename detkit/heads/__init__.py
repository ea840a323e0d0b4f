"""Heads: each answers one question by the three verbs `forward`, `losses` and `decode`."""

from detkit.heads.box import BoxHead
from detkit.heads.region_branch import RegionBranch
from detkit.heads.rpn import RPN

__all__ = ["RPN", "BoxHead", "RegionBranch"]
