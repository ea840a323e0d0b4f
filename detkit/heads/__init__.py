"""Heads: each owns its targets, losses and decoding, by the methods `forward`, `losses` and `decode`."""

from detkit.deprecation import moved_names
from detkit.heads.box_merge import MergeBoxes
from detkit.heads.context import Candidates, Context, Regions
from detkit.heads.dense.dense_head import DenseHead
from detkit.heads.dense.fcos import FCOSHead
from detkit.heads.dense.overfeat import OverFeatHead
from detkit.heads.dense.retinanet import RetinaNetHead
from detkit.heads.dense.rpn import RPN
from detkit.heads.dense.ssd import SSDHead, SSDliteHead
from detkit.heads.dense.yolo.yolo import YOLOHead
from detkit.heads.dense.yolo.yolo_v1 import YOLOv1Head
from detkit.heads.dense.yolo.yolo_v2 import YOLOv2Head
from detkit.heads.dense.yolo.yolo_v3 import YOLOv3Head
from detkit.heads.dense.yolo.yolo_v4 import YOLOv4Head
from detkit.heads.image.classification import ClassificationHead
from detkit.heads.image.image_head import ImageHead
from detkit.heads.image.localization import LocalizationHead
from detkit.heads.image.shape.image_mesh import ImageMeshHead
from detkit.heads.image.shape.image_voxel import ImageVoxelHead
from detkit.heads.pixel.deeplab.deeplab_v3 import DeepLabV3Head
from detkit.heads.pixel.deeplab.deeplab_v3_plus import DeepLabV3PlusHead
from detkit.heads.pixel.fcn import FCNHead
from detkit.heads.pixel.lraspp import LRASPPHead
from detkit.heads.pixel.pixel_head import PixelHead
from detkit.heads.pixel.score_skips import ScoreSkipHead
from detkit.heads.pixel.segnet import SegNetBasicHead, SegNetHead
from detkit.heads.pixel.semantic_fpn import SemanticFPNHead
from detkit.heads.pixel.stuff import StuffHead
from detkit.heads.pixel.unet import UNetHead
from detkit.heads.postprocess import NMS, Postprocess, SoftNMS, TopK
from detkit.heads.region.box import BoxHead
from detkit.heads.region.box_cascade import BoxCascade
from detkit.heads.region.keypoint import KeypointHead
from detkit.heads.region.mask import MaskHead
from detkit.heads.region.mesh.depth_head import DepthHead
from detkit.heads.region.mesh.mesh_head import MeshHead
from detkit.heads.region.mesh.voxel_head import VoxelHead
from detkit.heads.region.region_branch import Crop, InstanceBranch, RegionBranch
from detkit.heads.region.region_features import (
    AveragePool,
    ConvolutionsThenFullyConnected,
    RegionFeatureExtractor,
    RegionNetwork,
    TwoFullyConnected,
)
from detkit.heads.region.region_sampler import RegionSampler
from detkit.heads.region.svm_box import SVMBoxHead

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
    "DeepLabV3Head",
    "DeepLabV3PlusHead",
    "DenseHead",
    "DepthHead",
    "FCNHead",
    "FCOSHead",
    "ImageHead",
    "ImageMeshHead",
    "ImageVoxelHead",
    "InstanceBranch",
    "KeypointHead",
    "LRASPPHead",
    "LocalizationHead",
    "MaskHead",
    "MergeBoxes",
    "MeshHead",
    "OverFeatHead",
    "PixelHead",
    "Postprocess",
    "RegionBranch",
    "RegionFeatureExtractor",
    "RegionNetwork",
    "RegionSampler",
    "Regions",
    "RetinaNetHead",
    "SSDHead",
    "SSDliteHead",
    "SVMBoxHead",
    "ScoreSkipHead",
    "SegNetBasicHead",
    "SegNetHead",
    "SemanticFPNHead",
    "SoftNMS",
    "StuffHead",
    "TopK",
    "TwoFullyConnected",
    "UNetHead",
    "VoxelHead",
    "YOLOHead",
    "YOLOv1Head",
    "YOLOv2Head",
    "YOLOv3Head",
    "YOLOv4Head",
]

__getattr__ = moved_names(__name__, {"RegionTrunk": "detkit.heads.RegionFeatureExtractor"})
