"""Masks and keypoints as SVG paths: they cover what they are made of, and are found with their evaluators."""

from __future__ import annotations

import json
import re

import cv2
import numpy as np
import pytest
from mark_shape_cases import CORNER, DISC, RING, shaped
from report_cases import SIZE

from detkit.reporting import Shape, keypoint_shape, mask_shape
from detkit.tasks import Detection


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
        radius = np.hypot(*np.mgrid[-500:500, -500:500])
        large = (radius < 250) & (radius > 120)
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


def content(kinds: list[str]) -> dict:
    """The first image of a page of an evaluation with these evaluators."""
    section = Detection().report(shaped(kinds))[-1]
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
