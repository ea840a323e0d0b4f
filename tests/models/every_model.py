"""A small model of every kind, and two images."""

from functools import partial

import torch

from detkit.backbones import ConvolutionalVGG16, Darknet53, SegNetEncoder, TappedMobileNet, UNetEncoder
from detkit.heads import (
    NMS,
    BoxHead,
    DeepLabV3Head,
    DeepLabV3PlusHead,
    DepthHead,
    ImageMeshHead,
    ImageVoxelHead,
    KeypointHead,
    LRASPPHead,
    MeshHead,
    StuffHead,
    VoxelHead,
)
from detkit.models import (
    FCN,
    FCOS,
    LRASPP,
    CascadeRCNN,
    Classifier,
    DeepLabV3,
    DeepLabV3Plus,
    FastRCNN,
    FCN8s,
    KeypointRCNN,
    Localizer,
    MaskRCNN,
    MeshRCNN,
    PanopticFPN,
    RegionAlign,
    RetinaNet,
    SegNet,
    ShapeNetMeshRCNN,
    SSDlite,
    UNet,
    YOLOv3,
)
from detkit.necks import FPN
from detkit.preprocess import Letterbox, ShortestEdge, Square, Stretch
from detkit.structures import Category, Target

preprocess = partial(ShortestEdge, 64, 96)  # one of each model's own
FEW = partial(BoxHead, postprocess=NMS(detections=5))  # for the speed of keypoints


def of_things_and_stuff(model):
    """A panoptic model whose second class is stuff."""
    model.categories = [Category(1, "disc"), Category(2, "sky", is_thing=False), Category(3, "box")]
    return model


MODELS = {
    "cascade": lambda backbone: CascadeRCNN(backbone(), 3, preprocess=preprocess()),
    "classifier": lambda backbone: Classifier(backbone(), 3),
    "deeplab_v3": lambda backbone: DeepLabV3(backbone(), 3, partial(DeepLabV3Head, width=8)),
    "deeplab_v3_plus": lambda backbone: DeepLabV3Plus(backbone(), 3, partial(DeepLabV3PlusHead, width=8)),
    "fast": lambda backbone: FastRCNN(backbone(), 3, preprocess=preprocess(), neck=FPN, region_pool=RegionAlign()),
    "fcn": lambda backbone: FCN(backbone(), 3, auxiliary={}),
    "fcn8s": lambda backbone: FCN8s(ConvolutionalVGG16(1 / 64), 3),
    "fcos": lambda backbone: FCOS(backbone(), 3, preprocess=preprocess()),
    "keypoint": lambda backbone: KeypointRCNN(
        backbone(), 1, partial(KeypointHead, num_keypoints=2), preprocess=preprocess(), box_head=FEW
    ),
    "localizer": lambda backbone: Localizer(backbone(), 3),
    "lraspp": lambda backbone: LRASPP(backbone(), 3, partial(LRASPPHead, width=8)),
    "mask": lambda backbone: MaskRCNN(backbone(), 3, preprocess=preprocess(), box_head=FEW),
    "mesh": lambda backbone: MeshRCNN(
        backbone(),
        3,
        partial(DepthHead, hidden=8),
        partial(VoxelHead, channels=8, resolution=3),
        partial(MeshHead, channels=8),
        preprocess=preprocess(),
        box_head=FEW,
    ),
    "panoptic": lambda backbone: of_things_and_stuff(
        PanopticFPN(backbone(), 3, partial(StuffHead, hidden=8, groups=2), preprocess=preprocess(), box_head=FEW)
    ),
    "retinanet": lambda backbone: RetinaNet(backbone(), 3, preprocess=preprocess()),
    "segnet": lambda backbone: SegNet(SegNetEncoder(1 / 64), 3),
    "shapenet": lambda backbone: ShapeNetMeshRCNN(
        backbone(),
        partial(ImageVoxelHead, voxels=8, channels=8),
        partial(ImageMeshHead, channels=8),
        preprocess=Stretch((48, 64)),
    ),
    "ssdlite": lambda backbone: SSDlite(TappedMobileNet("mobilenet_v3_small"), 3, preprocess=Square(96)),
    "unet": lambda backbone: UNet(UNetEncoder(1 / 64), 3),
    "yolo": lambda backbone: YOLOv3(Darknet53(0.05, [1] * 5), 3, preprocess=Letterbox((64, 96))),
}
IMAGES = [torch.full((3, 40, 60), 0.25), torch.rand(3, 50, 40, generator=torch.Generator().manual_seed(0))]
CAMERA = torch.tensor([[60.0, 0, 30], [0, 60, 20], [0, 0, 1]])
GIVEN = [Target(proposals=torch.tensor([[5.0, 5, 30, 35]]), camera=CAMERA)] * 2
