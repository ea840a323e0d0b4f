"""Trunks: an image batch in, feature maps out."""

from detkit.backbones.backbone import Backbone
from detkit.backbones.pretrained import LoadReport
from detkit.backbones.timm_backbone import TimmBackbone
from detkit.backbones.torchvision_backbone import TorchvisionBackbone

__all__ = ["Backbone", "LoadReport", "TimmBackbone", "TorchvisionBackbone"]
