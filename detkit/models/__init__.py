"""Detectors and classifiers: each file wires a backbone, a neck and heads, and reads like the figure of its paper."""

from detkit.deprecation import moved_names
from detkit.models.detector import Detector
from detkit.models.image.classifier import Classifier
from detkit.models.image.localizer import Localizer
from detkit.models.panoptic.merging import MergeRule
from detkit.models.panoptic.panoptic_fpn import PanopticFPN
from detkit.models.pixel.connected_objects import ConnectedObjects
from detkit.models.pixel.deeplab_v3 import DeepLabV3
from detkit.models.pixel.deeplab_v3_plus import DeepLabV3Plus
from detkit.models.pixel.fcn import FCN
from detkit.models.pixel.fcn_skips import FCN8s, FCN16s, FCN32s
from detkit.models.pixel.lraspp import LRASPP
from detkit.models.pixel.segmentation_model import SegmentationModel
from detkit.models.pixel.segnet import SegNet, SegNetBasic
from detkit.models.pixel.unet import UNet
from detkit.models.raw_graph import Raw
from detkit.models.shape import ShapeNetMeshRCNN
from detkit.models.single_stage.fcos import FCOS
from detkit.models.single_stage.overfeat import OverFeat
from detkit.models.single_stage.retinanet import RetinaNet
from detkit.models.single_stage.single_stage_detector import SingleStageDetector
from detkit.models.single_stage.ssd import SSD, SSDlite
from detkit.models.single_stage.yolo_v1 import YOLOv1
from detkit.models.single_stage.yolo_v2 import YOLOv2
from detkit.models.single_stage.yolo_v3 import YOLOv3
from detkit.models.single_stage.yolo_v4 import YOLOv4
from detkit.models.transfer.with_classes import with_classes
from detkit.models.two_stage.cascade_rcnn import CascadeRCNN
from detkit.models.two_stage.fast_rcnn import FastRCNN
from detkit.models.two_stage.faster_rcnn import FasterRCNN
from detkit.models.two_stage.keypoint_rcnn import KeypointRCNN
from detkit.models.two_stage.mask_rcnn import MaskRCNN
from detkit.models.two_stage.mesh_rcnn import MeshRCNN
from detkit.models.two_stage.rcnn import RCNN
from detkit.models.two_stage.region_pool import RegionAlign, RegionMaxPool, RegionStage, RegionWarp
from detkit.models.two_stage.two_stage_detector import TwoStageDetector
from detkit.models.vision_model import VisionModel

__all__ = [
    "FCN",
    "FCOS",
    "LRASPP",
    "RCNN",
    "SSD",
    "CascadeRCNN",
    "Classifier",
    "ConnectedObjects",
    "DeepLabV3",
    "DeepLabV3Plus",
    "Detector",
    "FCN8s",
    "FCN16s",
    "FCN32s",
    "FastRCNN",
    "FasterRCNN",
    "KeypointRCNN",
    "Localizer",
    "MaskRCNN",
    "MergeRule",
    "MeshRCNN",
    "OverFeat",
    "PanopticFPN",
    "Raw",
    "RegionAlign",
    "RegionMaxPool",
    "RegionStage",
    "RegionWarp",
    "RetinaNet",
    "SSDlite",
    "SegNet",
    "SegNetBasic",
    "SegmentationModel",
    "ShapeNetMeshRCNN",
    "SingleStageDetector",
    "TwoStageDetector",
    "UNet",
    "VisionModel",
    "YOLOv1",
    "YOLOv2",
    "YOLOv3",
    "YOLOv4",
    "with_classes",
]

__getattr__ = moved_names(
    __name__,
    {
        name: f"detkit.preprocess.{name}"
        for name in (
            "CenterCrop",
            "Letterbox",
            "OriginalSize",
            "ShortestEdge",
            "SmoothShortestEdge",
            "Square",
            "Stretch",
        )
    },
)
