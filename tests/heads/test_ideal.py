"""The output of a perfect network decodes to the objects themselves."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from detkit.boxes import CellCoder
from detkit.heads import (
    NMS,
    RPN,
    BoxHead,
    FCOSHead,
    KeypointHead,
    LocalizationHead,
    MaskHead,
    OverFeatHead,
    Regions,
    RegionSampler,
    RetinaNetHead,
    SSDHead,
    YOLOv1Head,
    YOLOv2Head,
    YOLOv3Head,
    YOLOv4Head,
)
from detkit.ops import box_iou, rle_to_masks
from detkit.testing.batches import Batches

ANCHORS = [[(30, 30), (60, 50)], [(60, 80), (90, 60)]]
DENSE = {
    "retinanet": lambda *sizes: RetinaNetHead(*sizes, anchor_sizes=[[32, 48], [64, 96]]),
    "retinanet with background": lambda *sizes: RetinaNetHead(*sizes, background_logit=True),
    "fcos": lambda *sizes: FCOSHead(*sizes, convolutions=1, range_limits=[64]),
    "ssd": lambda *sizes: SSDHead(*sizes, sizes=[32, 64, 96]),
    "yolo v2": lambda channels, strides, classes: YOLOv2Head(channels, strides, classes, ANCHORS),
    "yolo v3": lambda channels, strides, classes: YOLOv3Head(channels, strides, classes, ANCHORS),
    "yolo v4": lambda channels, strides, classes: YOLOv4Head(channels, strides, classes, ANCHORS, (1.2, 1.1)),
    "yolo v4 new": lambda channels, strides, classes: YOLOv4Head(channels, strides, classes, ANCHORS, (2, 2), True),
    "overfeat": lambda *sizes: OverFeatHead(
        *sizes, window=3, class_hidden=[8], box_hidden=[8], postprocess=NMS(iou_threshold=0.5)
    ),
}


def _found(answers, targets):
    """Each object is found once, with its class, and nothing else."""
    for answer, target in zip(answers, targets, strict=True):
        assert len(answer) == len(target)
        ious = box_iou(answer.boxes, target.boxes)
        assert ious.amax(dim=0).min() > 0.995
        assert torch.equal(answer.labels[ious.argmax(dim=0)], target.labels)
        assert answer.scores.min() > 0.2


@pytest.mark.parametrize("name", DENSE)
def test_of_a_dense_head(name):
    torch.manual_seed(0)
    batches = Batches([8, 8], [8, 16], 3, (96, 128))
    head, targets = DENSE[name]([8, 8], [8, 16], 3).eval(), batches.targets_apart(3)
    context = batches.context(targets)
    ideal = head.ideal(head(batches.features(), context), context)
    _found(head.decode(ideal, replace(context, targets=None)), targets)


@pytest.mark.parametrize("name", DENSE)
def test_of_a_dense_head_without_objects_is_background(name):
    batches = Batches([8, 8], [8, 16], 3, (96, 128))
    head, context = DENSE[name]([8, 8], [8, 16], 3).eval(), batches.context(batches.targets("no objects"))
    answers = head.decode(head.ideal(head(batches.features(), context), context), replace(context, targets=None))
    assert [len(answer) for answer in answers] == [0, 0]


def test_of_yolo_v1():
    batches = Batches([8], [16], 3, (96, 96))
    head, targets = YOLOv1Head([8], [16], 3, side=6, hidden=8).eval(), batches.targets_apart(3)
    context = batches.context(targets)
    ideal = head.ideal(head(batches.features(), context), context)
    _found(head.decode(ideal, replace(context, targets=None)), targets)


def test_of_an_rpn_and_a_box_head():
    batches = Batches([8, 8], [8, 16], 3, (96, 128))
    targets = batches.targets_apart(3)
    context = batches.context(targets)
    rpn, box_head = RPN([8, 8], [8, 16], anchor_sizes=[[32], [64]]).eval(), BoxHead(8, 7, 3).eval()
    proposals = rpn.propose(rpn.ideal(rpn(batches.features(), context), context), replace(context, targets=None))
    regions = RegionSampler().labeled(proposals, context)
    assert (regions.labels >= 0).any()
    assert (regions.labels < 0).any()
    answers = box_head.decode(box_head.ideal(regions, {}, context), regions, {}, None, replace(context, targets=None))
    _found(answers, targets)


def test_of_masks_and_keypoints_is_as_exact_as_their_cells():
    batches = Batches([8], [8], 3, (96, 128))
    targets = batches.targets_apart(3)
    context = batches.context(targets)
    objects = context.objects
    rows = torch.arange(len(objects.labels))
    regions = Regions(objects.boxes, objects.image_index, objects.labels, rows, objects.counts)
    box_head = BoxHead(8, 7, 3)
    detections = box_head.decode(box_head.ideal(regions, {}, context), regions, {}, None, context)
    matched = [box_iou(one.boxes, target.boxes).argmax(dim=1) for one, target in zip(detections, targets, strict=True)]
    offsets = torch.tensor([0, len(targets[0])])
    own = torch.cat([row + offset for row, offset in zip(matched, offsets, strict=True)])
    regions = Regions(objects.boxes[own], objects.image_index, objects.labels[own], own, objects.counts)
    for head in (MaskHead(8, 3, channels=8), KeypointHead(8, 3, num_keypoints=batches.keypoints, channels=8)):
        detections = head.decode(head.ideal(regions, {}, context), regions, {}, detections, context)
    for one, target, row in zip(detections, targets, matched, strict=True):
        masks, truth = rle_to_masks(one.masks) if hasattr(one.masks, "counts") else one.masks, target.masks[row]
        ious = (masks & truth).sum(dim=(1, 2)) / (masks | truth).sum(dim=(1, 2))
        assert 0.85 < ious.min() <= 1
        assert (one.keypoints[..., :2] - target.keypoints[row][..., :2]).norm(dim=-1).max() < 1.5  # pixels


def test_of_localization():
    batches = Batches([8], [8], 3, (96, 128))
    targets = [replace(one[:1], image_label=int(one.labels[0])) for one in batches.targets_apart(1)]
    context = batches.context(targets)
    head = LocalizationHead(8, 3, hidden=8).eval()
    ideal = head.ideal(head(batches.features()[-1], context), context)
    for answer, target in zip(head.decode(ideal, replace(context, targets=None)), targets, strict=True):
        assert answer.labels[0] == target.image_label
        torch.testing.assert_close(answer.boxes[:1], target.boxes)


@pytest.mark.parametrize("coder", [CellCoder(), CellCoder(1.2), CellCoder(2.0, new_coords=True)])
def test_cells_are_encoded_as_they_are_decoded(coder):
    offsets, factors = torch.tensor([[0.3, 0.9], [0.02, 0.5]]), torch.tensor([[0.5, 2.0], [1.0, 3.5]])
    outputs = coder.encode(offsets, factors)[None, None, None]  # a row of two cells
    anchors = torch.tensor([[10.0, 20.0]])
    boxes = coder.decode(outputs, anchors, 8)[0, 0, 0]
    centers = torch.tensor([[0.3, 0.9], [1.02, 0.5]]) * 8
    torch.testing.assert_close((boxes[:, :2] + boxes[:, 2:]) / 2, centers, atol=1e-3, rtol=0)
    torch.testing.assert_close(boxes[:, 2:] - boxes[:, :2], factors * anchors, atol=1e-3, rtol=1e-4)
