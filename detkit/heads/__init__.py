"""Heads: each answers one question by the three verbs `forward`, `losses` and `decode`."""

from detkit.heads.box import BoxHead
from detkit.heads.box_cascade import BoxCascade
from detkit.heads.box_merge import MergeBoxes
from detkit.heads.classification import ClassificationHead
from detkit.heads.context import Candidates, Context, Regions
from detkit.heads.dense_head import DenseHead
from detkit.heads.fcos import FCOSHead
from detkit.heads.image_head import ImageHead
from detkit.heads.keypoint import KeypointHead
from detkit.heads.localization import LocalizationHead
from detkit.heads.mask import MaskHead
from detkit.heads.overfeat import OverFeatHead
from detkit.heads.postprocess import NMS, Postprocess, SoftNMS, TopK
from detkit.heads.region_branch import Crop, InstanceBranch, RegionBranch
from detkit.heads.region_sampler import RegionSampler
from detkit.heads.region_trunk import (
    AveragePool,
    ConvolutionsThenFullyConnected,
    RegionNetwork,
    RegionTrunk,
    TwoFullyConnected,
)
from detkit.heads.retinanet import RetinaNetHead
from detkit.heads.rpn import RPN
from detkit.heads.ssd import SSDHead, SSDliteHead
from detkit.heads.svm_box import SVMBoxHead
from detkit.heads.yolo import YOLOHead
from detkit.heads.yolo_v1 import YOLOv1Head
from detkit.heads.yolo_v2 import YOLOv2Head
from detkit.heads.yolo_v3 import YOLOv3Head
from detkit.heads.yolo_v4 import YOLOv4Head

__all__ = [
    "NMS",
    "RPN",
    "AveragePool",
    "BoxCascade",
    "BoxHead",
    "Candidates",
    "ClassificationHead",
    "Context",
    "ConvolutionsThenFullyConnected",
    "Crop",
    "DenseHead",
    "FCOSHead",
    "ImageHead",
    "InstanceBranch",
    "KeypointHead",
    "LocalizationHead",
    "MaskHead",
    "MergeBoxes",
    "OverFeatHead",
    "Postprocess",
    "RegionBranch",
    "RegionNetwork",
    "RegionSampler",
    "RegionTrunk",
    "Regions",
    "RetinaNetHead",
    "SSDHead",
    "SSDliteHead",
    "SVMBoxHead",
    "SoftNMS",
    "TopK",
    "TwoFullyConnected",
    "YOLOHead",
    "YOLOv1Head",
    "YOLOv2Head",
    "YOLOv3Head",
    "YOLOv4Head",
]
