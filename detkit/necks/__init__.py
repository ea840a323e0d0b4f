"""Necks: feature maps in, feature maps out."""

from detkit.necks.fpn import FPN
from detkit.necks.neck import Neck

__all__ = ["FPN", "Neck"]
