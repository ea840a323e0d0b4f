"""Importers of weights that others trained."""

from detkit.weights.darknet_models import from_darknet, to_darknet
from detkit.weights.torchvision_weights import from_torchvision

__all__ = ["from_darknet", "from_torchvision", "to_darknet"]
