"""Importing models of torchvision, detectron2 and darknet with their weights, and exporting to darknet."""

from detkit.weights.darknet.models import from_darknet, to_darknet
from detkit.weights.detectron2_weights import from_detectron2
from detkit.weights.torchvision_weights import from_torchvision

__all__ = ["from_darknet", "from_detectron2", "from_torchvision", "to_darknet"]
