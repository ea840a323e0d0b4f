"""Detectors and classifiers: each file wires trunk, neck and heads, and reads like its paper's figure."""

from detkit.deprecation import moved_names
from detkit.models.cascade_rcnn import CascadeRCNN
from detkit.models.classifier import Classifier
from detkit.models.detector import Detector, VisionModel
from detkit.models.fast_rcnn import FastRCNN
from detkit.models.faster_rcnn import FasterRCNN
from detkit.models.fcos import FCOS
from detkit.models.keypoint_rcnn import KeypointRCNN
from detkit.models.localizer import Localizer
from detkit.models.mask_rcnn import MaskRCNN
from detkit.models.overfeat import OverFeat
from detkit.models.preprocess import PREPROCESS_NAMES
from detkit.models.raw import Raw
from detkit.models.rcnn import RCNN
from detkit.models.region_pool import RegionAlign, RegionMaxPool, RegionStage, RegionWarp
from detkit.models.retinanet import RetinaNet
from detkit.models.single_stage import SingleStageDetector
from detkit.models.ssd import SSD, SSDlite
from detkit.models.two_stage import TwoStageDetector
from detkit.models.yolo_v1 import YOLOv1
from detkit.models.yolo_v2 import YOLOv2
from detkit.models.yolo_v3 import YOLOv3
from detkit.models.yolo_v4 import YOLOv4

__all__ = [
    "FCOS",
    "RCNN",
    "SSD",
    "CascadeRCNN",
    "Classifier",
    "Detector",
    "FastRCNN",
    "FasterRCNN",
    "KeypointRCNN",
    "Localizer",
    "MaskRCNN",
    "OverFeat",
    "Raw",
    "RegionAlign",
    "RegionMaxPool",
    "RegionStage",
    "RegionWarp",
    "RetinaNet",
    "SSDlite",
    "SingleStageDetector",
    "TwoStageDetector",
    "VisionModel",
    "YOLOv1",
    "YOLOv2",
    "YOLOv3",
    "YOLOv4",
]

__getattr__ = moved_names(__name__, {name: f"detkit.preprocess.{name}" for name in PREPROCESS_NAMES})
