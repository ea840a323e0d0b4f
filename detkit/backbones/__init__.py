"""Backbones, which turn a batch of images into feature maps, and the classifiers that they come from."""

from detkit.backbones.alexnet import AlexNet
from detkit.backbones.backbone import Backbone
from detkit.backbones.backbone_by_name import as_backbone
from detkit.backbones.chain import ChainBackbone
from detkit.backbones.classifiers import classifier, zero_last_gamma
from detkit.backbones.convolutional_vgg16 import ConvolutionalVGG16
from detkit.backbones.darknet import (
    CSPDarknet53,
    CSPDarknetTiny,
    Darknet19,
    Darknet53,
    DarknetTiny,
    StagedBackbone,
    YOLOv1Backbone,
)
from detkit.backbones.dilated_vgg16 import DilatedVGG16
from detkit.backbones.fully_convolutional import dense_logits, fully_convolutional
from detkit.backbones.image_pyramid import ImagePyramid
from detkit.backbones.local_contrast import LocalContrastNormalization
from detkit.backbones.overfeat import OverFeatAccurate, OverFeatFast
from detkit.backbones.pixels import Pixels
from detkit.backbones.pretrained import LoadReport
from detkit.backbones.receptive_field import receptive_field
from detkit.backbones.segnet_encoder import SegNetBasicEncoder, SegNetEncoder
from detkit.backbones.tapped_mobilenet import TappedMobileNet
from detkit.backbones.timm_backbone import TimmBackbone
from detkit.backbones.torchvision_backbone import TorchvisionBackbone
from detkit.backbones.unet_encoder import UNetEncoder
from detkit.backbones.zfnet import ZFNet
from detkit.deprecation import moved_names

__all__ = [
    "AlexNet",
    "Backbone",
    "CSPDarknet53",
    "CSPDarknetTiny",
    "ChainBackbone",
    "ConvolutionalVGG16",
    "Darknet19",
    "Darknet53",
    "DarknetTiny",
    "DilatedVGG16",
    "ImagePyramid",
    "LoadReport",
    "LocalContrastNormalization",
    "OverFeatAccurate",
    "OverFeatFast",
    "Pixels",
    "SegNetBasicEncoder",
    "SegNetEncoder",
    "StagedBackbone",
    "TappedMobileNet",
    "TimmBackbone",
    "TorchvisionBackbone",
    "UNetEncoder",
    "YOLOv1Backbone",
    "ZFNet",
    "as_backbone",
    "classifier",
    "dense_logits",
    "fully_convolutional",
    "receptive_field",
    "zero_last_gamma",
]

__getattr__ = moved_names(__name__, {"YOLOv1Trunk": "detkit.backbones.YOLOv1Backbone"})
