"""Necks, which turn the feature maps of a backbone into those that heads use."""

from detkit.necks.drop_block import DropBlock
from detkit.necks.extra_layers import SSD300_LAYERS, SSD512_LAYERS, ExtraLayers, L2Norm, SeparableExtraLayers
from detkit.necks.extra_levels import EveryOtherCell, ExtraLevels, StridedConvolutions
from detkit.necks.fpn import FPN
from detkit.necks.neck import Neck
from detkit.necks.pan import PAN
from detkit.necks.passthrough import Passthrough
from detkit.necks.spp import SPP
from detkit.necks.yolo_v3 import YOLOv3Neck

__all__ = [
    "FPN",
    "PAN",
    "SPP",
    "SSD300_LAYERS",
    "SSD512_LAYERS",
    "DropBlock",
    "EveryOtherCell",
    "ExtraLayers",
    "ExtraLevels",
    "L2Norm",
    "Neck",
    "Passthrough",
    "SeparableExtraLayers",
    "StridedConvolutions",
    "YOLOv3Neck",
]
