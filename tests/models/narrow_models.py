"""A narrow model of every family, and batches for it."""

from dataclasses import replace
from functools import partial

import torch
from every_model import of_things_and_stuff

from detkit.backbones import (
    ConvolutionalVGG16,
    CSPDarknet53,
    Darknet19,
    Darknet53,
    SegNetEncoder,
    TappedMobileNet,
    TorchvisionBackbone,
    UNetEncoder,
    YOLOv1Backbone,
)
from detkit.heads import (
    RPN,
    AveragePool,
    BoxHead,
    DeepLabV3Head,
    DeepLabV3PlusHead,
    DepthHead,
    FCOSHead,
    ImageMeshHead,
    ImageVoxelHead,
    KeypointHead,
    LocalizationHead,
    LRASPPHead,
    MaskHead,
    MeshHead,
    OverFeatHead,
    RetinaNetHead,
    StuffHead,
    TwoFullyConnected,
    VoxelHead,
    YOLOv1Head,
)
from detkit.models import (
    FCN,
    FCOS,
    LRASPP,
    RCNN,
    SSD,
    CascadeRCNN,
    Classifier,
    DeepLabV3,
    DeepLabV3Plus,
    FasterRCNN,
    FastRCNN,
    FCN8s,
    KeypointRCNN,
    Localizer,
    MaskRCNN,
    MeshRCNN,
    OverFeat,
    PanopticFPN,
    RegionAlign,
    RegionStage,
    RegionWarp,
    RetinaNet,
    SegNet,
    ShapeNetMeshRCNN,
    SSDlite,
    UNet,
    YOLOv1,
    YOLOv2,
    YOLOv3,
    YOLOv4,
)
from detkit.necks import FPN, StridedConvolutions
from detkit.preprocess import Letterbox, ShortestEdge, Square, Stretch
from detkit.structures import Meshes, Target
from detkit.structures.meshes import icosphere

SIZE, OBJECTS = (48, 64), 4

# Narrow layers and few regions, for speed: the number of operations does not depend on them.
SMALL_HEAD = partial(BoxHead, trunk=partial(TwoFullyConnected, hidden=8))
THIN = partial(FPN, out_channels=8, extra_levels=StridedConvolutions)
POINTS = partial(KeypointHead, num_keypoints=2, channels=8)
preprocess = partial(ShortestEdge, 64, 96)  # one of each model's own: it moves to a device with the model


def narrow(**others):
    """Arguments of a narrow two-stage detector, and others that go before them."""
    return dict(neck=partial(FPN, out_channels=8), regions_per_image=16, preprocess=preprocess()) | others


def small(**others):
    """The same with a small box head."""
    return narrow(box_head=SMALL_HEAD, **others)


MODELS = {
    "faster": lambda backbone: FasterRCNN(backbone(8), 3, **small()),
    "mask": lambda backbone: MaskRCNN(backbone(8), 3, partial(MaskHead, channels=8), **small()),
    "keypoint": lambda backbone: KeypointRCNN(backbone(8), 1, POINTS, **small()),
    "cascade": lambda backbone: CascadeRCNN(backbone(8), 3, SMALL_HEAD, **narrow()),
    "fast": lambda backbone: FastRCNN(backbone(8), 3, region_pool=RegionAlign(), **small()),
    "c4": lambda backbone: FasterRCNN(
        TorchvisionBackbone("resnet18", stages=[4]), 3, rpn=partial(RPN, anchor_sizes=[[32, 64]]),
        region_pool=RegionStage(RegionAlign(4), "resnet18"),
        **narrow(neck=None, box_head=partial(BoxHead, trunk=AveragePool)),
    ),
    "rcnn": lambda backbone: RCNN(
        TorchvisionBackbone("resnet18", stages=[5]), 3, layers=AveragePool, region_pool=RegionWarp(32, 4),
        regions_per_image=4, preprocess=preprocess(),
    ),
    "mesh": lambda backbone: MeshRCNN(
        backbone(8), 3, partial(DepthHead, hidden=8), partial(VoxelHead, channels=8, resolution=3),
        partial(MeshHead, channels=8, samples=50), mask_head=partial(MaskHead, channels=8), **small(),
    ),
    "shapenet": lambda backbone: ShapeNetMeshRCNN(
        backbone(8), partial(ImageVoxelHead, voxels=6, channels=8, convolutions=1, truth="meshes"),
        partial(ImageMeshHead, channels=8, samples=50), depth_range=(3.0, 5.0), preprocess=Stretch((48, 64)),
    ),
    "retinanet": lambda backbone: RetinaNet(
        backbone(8), 3, THIN, partial(RetinaNetHead, convolutions=1), preprocess=preprocess()
    ),
    "fcos": lambda backbone: FCOS(backbone(8), 3, THIN, partial(FCOSHead, convolutions=1), preprocess=preprocess()),
    "ssd": lambda backbone: SSD(backbone(), 3, preprocess=Square(96)),
    "ssdlite": lambda backbone: SSDlite(TappedMobileNet("mobilenet_v3_small"), 3, preprocess=Square(96)),
    "yolo": lambda backbone: YOLOv3(Darknet53(0.05, [1] * 5), 3, preprocess=Letterbox((64, 96))),
    "yolo_v1": lambda backbone: YOLOv1(YOLOv1Backbone(0.02), 3, partial(YOLOv1Head, side=2, hidden=8)),
    "yolo_v2": lambda backbone: YOLOv2(Darknet19(0.05), 3, preprocess=Letterbox((64, 96))),
    "yolo_v4": lambda backbone: YOLOv4(CSPDarknet53(0.05, [1] * 5), 3, preprocess=Letterbox((64, 96))),
    "overfeat": lambda backbone: OverFeat(
        backbone(8), 3, [1.0, 0.5], partial(OverFeatHead, pool=1, window=3, class_hidden=[8], box_hidden=[8]),
        preprocess(),
    ),
    "classifier": lambda backbone: Classifier(backbone(8), 3),
    "localizer": lambda backbone: Localizer(backbone(8), 3, partial(LocalizationHead, hidden=8)),
    "panoptic": lambda backbone: of_things_and_stuff(
        PanopticFPN(backbone(8), 3, partial(StuffHead, hidden=8, groups=2), mask_head=partial(MaskHead, channels=8),
                    **small())
    ),
    "fcn": lambda backbone: FCN(backbone(8), 3),
    "deeplab_v3": lambda backbone: DeepLabV3(backbone(8), 3, partial(DeepLabV3Head, width=8)),
    "deeplab_v3_plus": lambda backbone: DeepLabV3Plus(backbone(8), 3, partial(DeepLabV3PlusHead, width=8, low_width=4)),
    "lraspp": lambda backbone: LRASPP(backbone(8), 3, partial(LRASPPHead, width=8)),
    "fcn8s": lambda backbone: FCN8s(ConvolutionalVGG16(1 / 64), 3),
    "unet": lambda backbone: UNet(UNetEncoder(1 / 64), 3),
    "segnet": lambda backbone: SegNet(SegNetEncoder(1 / 64), 3),
}  # fmt: skip


def batch_of(images, growth=0):
    """So many random images, and their targets; each image is `growth` pixels higher than the one before."""
    generator = torch.Generator().manual_seed(0)
    sizes = [(SIZE[0] + growth * image, SIZE[1]) for image in range(images)]
    pixels = [(torch.rand(3, *size, generator=generator) * 255).to(torch.uint8) for size in sizes]
    return pixels, [_target(generator, size) for size in sizes]


def _target(generator, size):
    corners = torch.rand(OBJECTS, 2, generator=generator) * 20
    boxes = torch.cat((corners, corners + 8 + torch.rand(OBJECTS, 2, generator=generator) * 15), dim=1)
    masks = torch.rand(OBJECTS, *size, generator=generator) > 0.5
    points = torch.cat((boxes.unflatten(1, (2, 2)), torch.full((OBJECTS, 2, 1), 2.0)), dim=2)
    labels, is_crowd = torch.zeros(OBJECTS, dtype=torch.int64), torch.arange(OBJECTS) == OBJECTS - 1
    return Target(
        boxes, labels, masks=masks, keypoints=points, iscrowd=is_crowd, image_label=0,
        label_map=torch.randint(0, 3, size, generator=generator, dtype=torch.uint8), proposals=boxes.repeat(3, 1) + 2,
    )  # fmt: skip


def batch_for(model, images, growth=0):
    """Images and targets as a loader gives them to the model: label maps and shapes only where it learns them."""
    pixels, targets = batch_of(images, growth)
    if "meshes" in model.learns_from:
        targets = [with_shapes(one) for one in targets]
    if isinstance(model, ShapeNetMeshRCNN):
        targets = [one[:1] for one in targets]
    if "label_map" in model.learns_from:
        return pixels, targets
    return pixels, [replace(one, label_map=None) for one in targets]


def with_shapes(target):
    """A target with a camera that sees an ellipsoid at distance 4 in each box."""
    sphere, meshes = icosphere(0), []
    for box in target.boxes:
        low, high = ((corner - box.new_tensor((32, 24))) / 16 for corner in box.view(2, 2))
        across = sphere.vertices[:, :2] * (high - low) / 2 + (high + low) / 2
        meshes.append(torch.cat((across, 4 + sphere.vertices[:, 2:] / 2), dim=1))
    camera = torch.tensor([[64.0, 0, 32], [0, 64, 24], [0, 0, 1]])
    return replace(target, camera=camera, meshes=Meshes(meshes, [sphere.faces] * len(meshes)))
