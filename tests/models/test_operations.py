"""How many operations a step of training or a detection launches, and how often it waits for a device; counted on the
CPU."""

from dataclasses import replace
from typing import NamedTuple

import pytest
import torch
from narrow_models import MODELS, batch_for, batch_of, preprocess
from operation_counter import OperationCounter, count_detection, count_raw, count_step

from detkit.heads.postprocess import Postprocess
from detkit.models import FasterRCNN, MaskRCNN
from detkit.ops import masks_to_rle


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
    "faster": Most(1, 310, 3),
    "mask": Most(1, 400, 5),
    "mesh": Most(2, 2450, 15),
    "keypoint": Most(1, 425, 3),
    "cascade": Most(1, 616, 5),
    "panoptic": Most(1, 500, 5),
    "fast": Most(1, 175, 1),
    "c4": Most(1, 361, 3),
    "rcnn": Most(1, 371, 1),
    "shapenet": Most(0, 1900, 9),
    "retinanet": Most(1, 126, 1),
    "fcos": Most(1, 194, 1),
    "ssd": Most(1, 130, 0),
    "ssdlite": Most(1, 130, 0),
    "yolo": Most(1, 261, 0),
    "yolo_v1": Most(1, 213, 0),
    "yolo_v2": Most(1, 275, 0),
    "yolo_v4": Most(1, 439, 0),
    "overfeat": Most(1, 146, 0),
    "classifier": Most(1, 48, 0),
    "localizer": Most(1, 113, 0),
    "fcn": Most(1, 88, 0),
    "deeplab_v3": Most(1, 49, 0),
    "deeplab_v3_plus": Most(1, 49, 0),
    "lraspp": Most(1, 49, 0),
    "fcn8s": Most(1, 47, 0),
    "unet": Most(1, 73, 0),
    "segnet": Most(1, 47, 0),
}

DETECTION_BOUNDS = {
    "faster": Most(0, 132, 3),
    "mask": Most(0, 181, 3),
    "mesh": Most(1, 800, 8),
    "keypoint": Most(0, 252, 4),
    "cascade": Most(0, 194, 3),
    "panoptic": Most(8, 290, 5),
    "fast": Most(1, 102, 2),
    "c4": Most(0, 133, 3),
    "rcnn": Most(1, 177, 2),
    "shapenet": Most(0, 50, 4),
    "retinanet": Most(0, 100, 1),
    "fcos": Most(0, 108, 1),
    "ssd": Most(0, 57, 3),
    "ssdlite": Most(0, 57, 3),
    "yolo": Most(0, 134, 5),
    "yolo_v1": Most(0, 94, 3),
    "yolo_v2": Most(0, 100, 4),
    "yolo_v4": Most(0, 134, 5),
    "classifier": Most(0, 7, 0),
    "localizer": Most(0, 39, 0),
    "fcn": Most(2, 30, 0),
    "deeplab_v3": Most(2, 30, 0),
    "deeplab_v3_plus": Most(2, 30, 0),
    "lraspp": Most(2, 30, 0),
    "fcn8s": Most(2, 30, 0),
    "unet": Most(2, 30, 0),
    "segnet": Most(2, 30, 0),
}
"""Without OverFeat, which merges the boxes of each image pair by pair."""


@pytest.mark.parametrize("name", BOUNDS)
def test_a_step_launches_and_waits_no_more_than_this(tiny_backbone, name, capsys):
    torch.manual_seed(0)
    model = MODELS[name](tiny_backbone)
    two, eight = (count_step(model, *(batch := batch_for(model, images)), batch[1]) for images in (2, 8))
    raw = count_raw(model, batch_of(8)[0])
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


@pytest.mark.parametrize("name", DETECTION_BOUNDS)
def test_detection_launches_and_waits_no_more_than_this(tiny_backbone, name):
    torch.manual_seed(0)
    model = MODELS[name](tiny_backbone).eval()
    for part in (value for module in model.modules() for value in vars(module).values()):
        if isinstance(part, Postprocess):
            part.score_threshold = 0.0  # so that there are enough candidates for every limit
    two, eight = (count_detection(model, *batch_for(model, images)) for images in (2, 8))
    pixels = model.preprocess(batch_of(8)[0]).images
    with torch.no_grad(), OperationCounter() as raw:
        model.raw(pixels)
    most = DETECTION_BOUNDS[name]
    within = (
        eight.operations - two.operations <= 6 * most.each,
        eight.operations <= raw.operations + most.above_raw,
        eight.waits <= most.waits,
    )
    summary = f"{two.operations} operations at 2 images, {eight.operations} at 8, {raw.operations} of raw alone"
    assert all(within), f"{summary}\n{eight.report()}"


def test_masks_of_another_size_take_few_operations(tiny_backbone):
    torch.manual_seed(0)
    model = MODELS["mask"](tiny_backbone)

    def batch(images):
        pixels, targets = batch_for(model, images, growth=3)
        return pixels, [replace(one, masks=masks_to_rle(one.masks)) for one in targets]

    two, eight = (count_step(model, *batch(images)) for images in (2, 8))
    # Of each: 6 of the preprocessing, 5 of the selection of the objects beside crowds, 3 to unpack and crop the masks.
    assert eight.operations - two.operations <= 6 * 15, eight.report()


@pytest.mark.slow
@pytest.mark.parametrize(("model", "above_raw", "waits"), [(FasterRCNN, 450, 6), (MaskRCNN, 600, 8)])
def test_with_a_resnet_50_the_operations_do_not_grow_with_the_images(model, above_raw, waits):
    torch.manual_seed(0)
    built = model("resnet50", 3, preprocess=preprocess())
    two, eight = (count_step(built, *batch_for(built, images)) for images in (2, 8))
    assert eight.operations <= 1.1 * two.operations
    assert eight.operations <= count_raw(built, batch_of(8)[0]).operations + above_raw
    assert eight.waits <= waits
