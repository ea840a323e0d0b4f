"""Detectors: each file wires trunk, neck and heads, and reads like its paper's figure."""

from detkit.models.detector import Detector
from detkit.models.faster_rcnn import FasterRCNN
from detkit.models.keypoint_rcnn import KeypointRCNN
from detkit.models.mask_rcnn import MaskRCNN
from detkit.models.preprocess import ShortestEdge
from detkit.models.region_pool import RegionAlign
from detkit.models.single_stage import SingleStageDetector
from detkit.models.two_stage import TwoStageDetector

__all__ = [
    "Detector",
    "FasterRCNN",
    "KeypointRCNN",
    "MaskRCNN",
    "RegionAlign",
    "ShortestEdge",
    "SingleStageDetector",
    "TwoStageDetector",
]
