"""How many operations a step of training launches, and how often it waits for a device; counted on the CPU."""

from dataclasses import replace
from functools import partial
from typing import NamedTuple

import pytest
import torch
from operation_counter import count_raw, count_step

from detkit.backbones import (
    CSPDarknet53,
    Darknet19,
    Darknet53,
    TappedMobileNet,
    TorchvisionBackbone,
    YOLOv1Backbone,
)
from detkit.heads import (
    RPN,
    AveragePool,
    BoxHead,
    FCOSHead,
    KeypointHead,
    LocalizationHead,
    MaskHead,
    OverFeatHead,
    RetinaNetHead,
    TwoFullyConnected,
    YOLOv1Head,
)
from detkit.models import (
    FCOS,
    RCNN,
    SSD,
    CascadeRCNN,
    Classifier,
    FasterRCNN,
    FastRCNN,
    KeypointRCNN,
    Localizer,
    MaskRCNN,
    OverFeat,
    RegionAlign,
    RegionStage,
    RegionWarp,
    RetinaNet,
    SSDlite,
    YOLOv1,
    YOLOv2,
    YOLOv3,
    YOLOv4,
)
from detkit.necks import FPN, StridedConvolutions
from detkit.ops import masks_to_rle
from detkit.preprocess import Letterbox, ShortestEdge, Square
from detkit.structures import Target

SIZE, OBJECTS = (48, 64), 4
PREPROCESS = ShortestEdge(64, 96)


class Most(NamedTuple):
    """The bounds of a model.

    Args:
        each: operations of each image after the second.
        above_raw: operations at 8 images beyond those of backbone, neck and heads alone.
        waits: at 8 images.
    """

    each: float
    above_raw: int
    waits: int


BOUNDS = {
    "faster": Most(6, 340, 3),
    "mask": Most(6, 430, 5),
    "keypoint": Most(6, 455, 3),
    "cascade": Most(6, 646, 5),
    "fast": Most(6, 205, 1),
    "c4": Most(6, 391, 3),
    "rcnn": Most(6, 401, 1),
    "retinanet": Most(6, 156, 1),
    "fcos": Most(6, 242, 1),
    "ssd": Most(6, 160, 0),
    "ssdlite": Most(6, 160, 0),
    "yolo": Most(6, 291, 0),
    "yolo_v1": Most(6, 243, 0),
    "yolo_v2": Most(6, 305, 0),
    "yolo_v4": Most(6, 469, 0),
    "overfeat": Most(6, 176, 0),
    "classifier": Most(6, 78, 0),
    "localizer": Most(6, 143, 0),
}


# Narrow layers and few regions, for speed: the number of operations does not depend on them.
SMALL_HEAD = partial(BoxHead, trunk=partial(TwoFullyConnected, hidden=8))
NARROW = dict(neck=partial(FPN, out_channels=8), regions_per_image=16, preprocess=PREPROCESS)
SMALL = NARROW | dict(box_head=SMALL_HEAD)
THIN = partial(FPN, out_channels=8, extra_levels=StridedConvolutions)
POINTS = partial(KeypointHead, num_keypoints=2, channels=8)
MODELS = {
    "faster": lambda backbone: FasterRCNN(backbone(8), 3, **SMALL),
    "mask": lambda backbone: MaskRCNN(backbone(8), 3, partial(MaskHead, channels=8), **SMALL),
    "keypoint": lambda backbone: KeypointRCNN(backbone(8), 1, POINTS, **SMALL),
    "cascade": lambda backbone: CascadeRCNN(backbone(8), 3, SMALL_HEAD, **NARROW),
    "fast": lambda backbone: FastRCNN(backbone(8), 3, region_pool=RegionAlign(), **SMALL),
    "c4": lambda backbone: FasterRCNN(
        TorchvisionBackbone("resnet18", stages=[4]), 3, rpn=partial(RPN, anchor_sizes=[[32, 64]]),
        region_pool=RegionStage(RegionAlign(4), "resnet18"),
        **NARROW | dict(neck=None, box_head=partial(BoxHead, trunk=AveragePool)),
    ),
    "rcnn": lambda backbone: RCNN(
        TorchvisionBackbone("resnet18", stages=[5]), 3, layers=AveragePool, region_pool=RegionWarp(32, 4),
        regions_per_image=4, preprocess=PREPROCESS,
    ),
    "retinanet": lambda backbone: RetinaNet(
        backbone(8), 3, THIN, partial(RetinaNetHead, convolutions=1), preprocess=PREPROCESS
    ),
    "fcos": lambda backbone: FCOS(backbone(8), 3, THIN, partial(FCOSHead, convolutions=1), preprocess=PREPROCESS),
    "ssd": lambda backbone: SSD(backbone(), 3, preprocess=Square(96)),
    "ssdlite": lambda backbone: SSDlite(TappedMobileNet("mobilenet_v3_small"), 3, preprocess=Square(96)),
    "yolo": lambda backbone: YOLOv3(Darknet53(0.05, [1] * 5), 3, preprocess=Letterbox((64, 96))),
    "yolo_v1": lambda backbone: YOLOv1(YOLOv1Backbone(0.02), 3, partial(YOLOv1Head, side=2, hidden=8)),
    "yolo_v2": lambda backbone: YOLOv2(Darknet19(0.05), 3, preprocess=Letterbox((64, 96))),
    "yolo_v4": lambda backbone: YOLOv4(CSPDarknet53(0.05, [1] * 5), 3, preprocess=Letterbox((64, 96))),
    "overfeat": lambda backbone: OverFeat(
        backbone(8), 3, [1.0, 0.5], partial(OverFeatHead, pool=1, window=3, class_hidden=[8], box_hidden=[8]),
        PREPROCESS,
    ),
    "classifier": lambda backbone: Classifier(backbone(8), 3),
    "localizer": lambda backbone: Localizer(backbone(8), 3, partial(LocalizationHead, hidden=8)),
}  # fmt: skip


def _batch(images):
    generator = torch.Generator().manual_seed(0)
    pixels = (torch.rand(images, 3, *SIZE, generator=generator) * 255).to(torch.uint8)
    return list(pixels), [_target(generator) for _ in range(images)]


def _target(generator, size=SIZE):
    corners = torch.rand(OBJECTS, 2, generator=generator) * 20
    boxes = torch.cat((corners, corners + 8 + torch.rand(OBJECTS, 2, generator=generator) * 15), dim=1)
    masks = torch.rand(OBJECTS, *size, generator=generator) > 0.5
    points = torch.cat((boxes.unflatten(1, (2, 2)), torch.full((OBJECTS, 2, 1), 2.0)), dim=2)
    labels, is_crowd = torch.zeros(OBJECTS, dtype=torch.int64), torch.arange(OBJECTS) == OBJECTS - 1
    proposals = boxes.repeat(3, 1) + 2
    return Target(boxes, labels, masks=masks, keypoints=points, iscrowd=is_crowd, proposals=proposals, image_label=0)


@pytest.mark.parametrize("name", BOUNDS)
def test_a_step_launches_and_waits_no_more_than_this(tiny_backbone, name, capsys):
    torch.manual_seed(0)
    model = MODELS[name](tiny_backbone)
    two, eight = (count_step(model, *(batch := _batch(images)), batch[1]) for images in (2, 8))
    raw = count_raw(model, _batch(8)[0])
    summary = f"{name}: {two.operations} operations at 2 images, {eight.operations} at 8, {raw.operations} of raw alone"
    with capsys.disabled():
        print(f"\n{summary}; {eight.waits} waits at 8")
    most = BOUNDS[name]
    within = (
        eight.operations - two.operations <= 6 * most.each,
        eight.operations <= raw.operations + most.above_raw,
        eight.waits <= most.waits,
    )
    assert all(within), f"{summary}\n{eight.report()}"


def test_masks_of_another_size_take_few_operations(tiny_backbone):
    torch.manual_seed(0)
    model = MODELS["mask"](tiny_backbone)

    def batch(images):
        generator = torch.Generator().manual_seed(0)
        pixels = [torch.rand(3, SIZE[0] + 3 * image, SIZE[1], generator=generator) for image in range(images)]
        targets = [_target(generator, one.shape[1:]) for one in pixels]
        return pixels, [replace(one, masks=masks_to_rle(one.masks)) for one in targets]

    two, eight = (count_step(model, *batch(images)) for images in (2, 8))
    # Of each: 5 of the preprocessing, 4 of the selection of the objects beside crowds, 3 to unpack and crop the masks.
    assert eight.operations - two.operations <= 6 * 15, eight.report()


@pytest.mark.slow
@pytest.mark.parametrize(("model", "above_raw", "waits"), [(FasterRCNN, 450, 6), (MaskRCNN, 600, 8)])
def test_with_a_resnet_50_the_operations_do_not_grow_with_the_images(model, above_raw, waits):
    torch.manual_seed(0)
    built = model("resnet50", 3, preprocess=PREPROCESS)
    two, eight = (count_step(built, *_batch(images)) for images in (2, 8))
    assert eight.operations <= 1.1 * two.operations
    assert eight.operations <= count_raw(built, _batch(8)[0]).operations + above_raw
    assert eight.waits <= waits
