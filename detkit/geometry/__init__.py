"""How images and what is known of them move from one frame to another."""

from detkit.geometry.placement import IMAGENET_MEAN_COLOR, Placement
from detkit.geometry.rectangles import Matrix, Rectangle, Size

__all__ = ["IMAGENET_MEAN_COLOR", "Matrix", "Placement", "Rectangle", "Size"]
