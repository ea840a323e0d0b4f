"""Importers of weights that others trained."""

from detkit.weights.torchvision_weights import from_torchvision

__all__ = ["from_torchvision"]
