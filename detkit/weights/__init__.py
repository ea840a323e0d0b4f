"""Models of torchvision, detectron2, darknet and papers' authors with their weights: import and export."""

from detkit.weights.authors.caffe_fcn import from_fcn
from detkit.weights.authors.meshrcnn import from_meshrcnn
from detkit.weights.darknet.models import from_darknet, to_darknet
from detkit.weights.detectron2_weights import Detectron2Detector, from_detectron2, to_detectron2
from detkit.weights.leaving.segmentation_export import TorchvisionSegmentation
from detkit.weights.leaving.torchvision_export import TorchvisionDetector, to_torchvision
from detkit.weights.torchvision_weights import from_torchvision

__all__ = [
    "Detectron2Detector",
    "TorchvisionDetector",
    "TorchvisionSegmentation",
    "from_darknet",
    "from_detectron2",
    "from_fcn",
    "from_meshrcnn",
    "from_torchvision",
    "to_darknet",
    "to_detectron2",
    "to_torchvision",
]
