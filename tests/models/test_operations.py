"""How many operations a step of training launches, and how often it waits for a device; counted on the CPU."""

from dataclasses import replace
from typing import NamedTuple

import pytest
import torch
from narrow_models import MODELS, PREPROCESS, batch_of
from operation_counter import count_raw, count_step

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


@pytest.mark.parametrize("name", BOUNDS)
def test_a_step_launches_and_waits_no_more_than_this(tiny_backbone, name, capsys):
    torch.manual_seed(0)
    model = MODELS[name](tiny_backbone)
    two, eight = (count_step(model, *(batch := batch_of(images)), batch[1]) for images in (2, 8))
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


def test_masks_of_another_size_take_few_operations(tiny_backbone):
    torch.manual_seed(0)
    model = MODELS["mask"](tiny_backbone)

    def batch(images):
        pixels, targets = batch_of(images, growth=3)
        return pixels, [replace(one, masks=masks_to_rle(one.masks)) for one in targets]

    two, eight = (count_step(model, *batch(images)) for images in (2, 8))
    # Of each: 6 of the preprocessing, 5 of the selection of the objects beside crowds, 3 to unpack and crop the masks.
    assert eight.operations - two.operations <= 6 * 15, eight.report()


@pytest.mark.slow
@pytest.mark.parametrize(("model", "above_raw", "waits"), [(FasterRCNN, 450, 6), (MaskRCNN, 600, 8)])
def test_with_a_resnet_50_the_operations_do_not_grow_with_the_images(model, above_raw, waits):
    torch.manual_seed(0)
    built = model("resnet50", 3, preprocess=PREPROCESS)
    two, eight = (count_step(built, *batch_of(images)) for images in (2, 8))
    assert eight.operations <= 1.1 * two.operations
    assert eight.operations <= count_raw(built, batch_of(8)[0]).operations + above_raw
    assert eight.waits <= waits
