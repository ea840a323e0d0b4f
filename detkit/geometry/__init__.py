"""Geometry: moving images and their annotations from one coordinate frame to another."""

from detkit.geometry.placement import IMAGENET_MEAN_COLOR, Placement
from detkit.geometry.rectangles import Matrix, Rectangle, Size

__all__ = ["IMAGENET_MEAN_COLOR", "Matrix", "Placement", "Rectangle", "Size"]
