"""Models of torchvision, detectron2 and darknet with their weights: import and export."""

from detkit.weights.darknet.models import from_darknet, to_darknet
from detkit.weights.detectron2_weights import Detectron2Detector, from_detectron2, to_detectron2
from detkit.weights.leaving.torchvision_export import TorchvisionDetector, to_torchvision
from detkit.weights.torchvision_weights import from_torchvision

__all__ = [
    "Detectron2Detector",
    "TorchvisionDetector",
    "from_darknet",
    "from_detectron2",
    "from_torchvision",
    "to_darknet",
    "to_detectron2",
    "to_torchvision",
]
