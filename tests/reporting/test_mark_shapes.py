"""Masks and keypoints as SVG paths: they cover what they are made of, and are found with their evaluators."""

from __future__ import annotations

import json
import re

import cv2
import numpy as np
import pytest
import torch
from report_cases import CATEGORIES, SIZE, Images

from detkit.evaluation import CocoEvaluator
from detkit.reporting import Evaluated, PageOptions, Shape, keypoint_shape, mask_shape
from detkit.structures import Category, Detections, Target
from detkit.tasks import Detection

Y, X = np.mgrid[:SIZE, :SIZE] + 0.5
DISC = (X - 40) ** 2 + (Y - 60) ** 2 < 25**2
RING = DISC & ((X - 40) ** 2 + (Y - 60) ** 2 > 12**2)
CORNER = (X < 9) & (Y < 5)


def filled(path: str, size: tuple[int, int] = (SIZE, SIZE), fine: int = 8) -> np.ndarray:
    """The pixels whose greater part a path covers, by the even-odd rule; drawn by OpenCV."""
    outlines = []
    for text in re.findall(r"M([^z]+)z", path):
        first, _, steps = text.partition("l")
        points = np.array([first.split(), *np.array(steps.split()).reshape(-1, 2)], dtype=float).cumsum(axis=0)
        outlines.append(np.round(points * fine).astype(np.int32))
    canvas = np.zeros((size[0] * fine, size[1] * fine), np.uint8)
    cv2.fillPoly(canvas, outlines, 1)
    return canvas.reshape(size[0], fine, size[1], fine).mean(axis=(1, 3)) >= 0.5


def iou(a: np.ndarray, b: np.ndarray) -> float:
    return float((a & b).sum() / (a | b).sum())


class TestMasks:
    @pytest.mark.parametrize("mask", [DISC, RING, CORNER, RING | CORNER], ids=["disc", "ring", "corner", "two parts"])
    def test_are_covered_by_their_outline(self, mask):
        assert iou(filled(mask_shape(mask).mask), mask) > 0.95

    def test_are_simpler_on_a_smaller_page(self):
        large = cv2.resize(RING.astype(np.uint8), (1000, 1000)) > 0
        whole, reduced = mask_shape(large), mask_shape(large, scale=0.25)
        assert iou(filled(reduced.mask, (1000, 1000), 1), large) > 0.95
        assert len(reduced.mask) < len(whole.mask)
        assert len(reduced.mask) < 400

    def test_without_a_pixel_are_nothing(self):
        assert mask_shape(np.zeros((9, 9), bool)) == Shape()


def test_keypoints_are_dots_and_those_that_are_shown_are_joined():
    points = np.array([[1.0, 2.0], [3.25, 4.0], [5.0, 6.0]])
    shape = keypoint_shape(points, [True, True, False], [(0, 1), (1, 2)])
    assert shape.dots == "M1.0 2.0h.01M3.2 4.0h.01"
    assert shape.lines == "M1.0 2.0L3.2 4.0"


class Shaped(Images):
    """Images of a ring in a box and of a corner, with masks and keypoints, some of them not labeled."""

    categories = (
        Category(1, "ring", keypoints=("left", "right"), skeleton=((0, 1),), sigmas=(0.1, 0.1)),
        *CATEGORIES[1:],
    )

    def target(self, index: int) -> Target:
        return Target(
            boxes=torch.tensor([[15.0, 35.0, 65.0, 85.0], [0.0, 0.0, 9.0, 5.0]]),
            labels=torch.tensor([0, 0]),
            masks=torch.from_numpy(np.stack([RING, CORNER])),
            keypoints=torch.tensor([[[15.0, 60, 2], [65, 60, 2]], [[0, 0, 0], [9, 5, 1]]]),
            image_id=index + 1,
        )


def content(kinds: list[str]) -> dict:
    """The images of a page with these evaluators of detections: a disc for the ring, of the score of a wrong one."""
    dataset = Shaped([[], []])
    answer = Detections(
        boxes=torch.tensor([[0.0, 0.0, 20.0, 20.0], [15.0, 35.0, 65.0, 85.0]]),
        scores=torch.tensor([0.75, 0.75]),
        labels=torch.tensor([0, 0]),
        masks=torch.from_numpy(np.stack([CORNER, DISC])),
        keypoints=torch.tensor([[[1.0, 1, 0.5], [2, 2, 0.5]], [[16.0, 61, 0.5], [66, 61, 0.5]]]),
    )
    evaluators = {kind: CocoEvaluator(dataset.ground_truth(), kind, categories=dataset.categories) for kind in kinds}
    for evaluator in evaluators.values():
        evaluator.update([dataset.target(index) for index in range(2)], [answer, answer])
        evaluator.compute()
    section = Detection().report(Evaluated(evaluators, dataset, PageOptions(bootstrap=0)))[-1]
    (text,) = re.findall(r'<script type="application/json">(.*?)</script>', "".join(section.parts))
    return json.loads(text)["images"][0]


class TestOfAnEvaluation:
    def test_masks_and_keypoints_go_with_the_boxes(self):
        image = content(["bbox", "segm", "keypoints"])
        (ring, corner), (wrong, right) = ([one[6] for one in image[key]] for key in ("objects", "answers"))
        assert iou(filled(ring[0]), RING) > 0.95
        assert ring[1:] == ["M15.0 60.0L65.0 60.0", "M15.0 60.0h.01M65.0 60.0h.01"]
        assert iou(filled(corner[0]), CORNER) > 0.95
        assert corner[1:] == ["", "M9.0 5.0h.01"]
        # Of detections of one score the box tells which is which.
        assert iou(filled(wrong[0]), CORNER) > 0.95
        assert iou(filled(right[0]), DISC) > 0.95
        assert right[2] == "M16.0 61.0h.01M66.0 61.0h.01"

    def test_masks_alone(self):
        image = content(["segm"])
        assert [bool(one[6][0]) for one in image["objects"] + image["answers"]] == [True] * 4

    def test_boxes_alone_have_none(self):
        image = content(["bbox"])
        assert {len(one) for one in image["objects"] + image["answers"]} == {6}
