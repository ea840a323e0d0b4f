"""What becomes of a target when its picture is moved: objects cut, dropped or too small to be learned from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch

from detkit.data.window import Window
from detkit.structures import Target

_MIN_SIDE = 1.0  # pixels; what is left of an object must be larger to be learned from


def assemble(
    target: Target,
    boxes: np.ndarray,
    visible: np.ndarray,
    masks: np.ndarray | None,
    keypoints: np.ndarray | None,
    area: np.ndarray | None,
    min_visibility: float,
) -> Target:
    """The new target: what is invisible dropped, what is too little made an ignore region."""
    boxes = boxes.astype(np.float32)
    sides = (boxes[:, 2:] - boxes[:, :2]).min(axis=1, initial=np.inf)
    too_little = torch.from_numpy((visible < min_visibility) | (sides < _MIN_SIDE))
    varied = replace(
        target,
        boxes=torch.from_numpy(boxes),
        masks=None if masks is None else torch.from_numpy(masks),
        keypoints=None if keypoints is None else torch.from_numpy(keypoints.astype(np.float32)),
        area=None if area is None else torch.from_numpy(area.astype(np.float32)),
        iscrowd=too_little if target.iscrowd is None else target.iscrowd | too_little,
    )
    kept = (visible > 0) & (sides > 0)
    return varied if kept.all() else varied[torch.from_numpy(kept)]


def move_through(
    window: Window,
    image: np.ndarray,
    target: Target,
    keypoint_pairs: Sequence[tuple[int, int]],
    min_visibility: float,
) -> tuple[np.ndarray, Target]:
    """A picture and its target as a window shows them; arguments as of `Augmentation`."""
    old = target.boxes.numpy().astype(np.float64)
    low = np.array([window.x, window.y])
    high = np.array([window.x + window.width, window.y + window.height])
    clipped = np.clip(old, np.tile(low, 2), np.tile(high, 2))
    visible = box_areas(clipped) / np.maximum(box_areas(old), 1e-9)
    boxes, masks, keypoints = window.boxes(clipped), None, None
    if target.masks is not None:
        masks = window.masks(target.masks.numpy())
        part = target.masks.numpy()[:, window.y : window.y + window.height, window.x : window.x + window.width]
        full = target.masks.numpy().sum(axis=(1, 2))
        visible = np.where(full > 0, part.sum(axis=(1, 2)) / np.maximum(full, 1), visible)
        boxes = tightened(boxes, masks, (clipped != old).any(axis=1))
    if target.keypoints is not None:
        points = target.keypoints.numpy()
        inside = ((points[..., :2] >= low) & (points[..., :2] <= high)).all(axis=-1)
        keypoints = np.concatenate([window.points(points[..., :2]), points[..., 2:]], axis=-1)
        keypoints = settled_keypoints(keypoints, inside, keypoint_pairs, window.mirror_x != window.mirror_y)
    area = None if target.area is None else target.area.numpy() * visible * window.scale.prod()
    return window.picture(image), assemble(target, boxes, visible, masks, keypoints, area, min_visibility)


def settled_keypoints(
    keypoints: np.ndarray, inside: np.ndarray, pairs: Sequence[tuple[int, int]], mirrored: bool
) -> np.ndarray:
    """Absent where outside or never annotated; the two of each pair exchanged in a mirrored picture."""
    keypoints = np.where((inside & (keypoints[..., 2] > 0))[..., None], keypoints, 0.0)
    if mirrored:
        order = np.arange(keypoints.shape[1])
        for one, other in pairs:
            order[[one, other]] = other, one
        keypoints = keypoints[:, order]
    return keypoints


def box_areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def tightened(boxes: np.ndarray, masks: np.ndarray, which: np.ndarray) -> np.ndarray:
    """`boxes` with those of `which` made tight around their masks (where these are not empty)."""
    boxes = boxes.copy()
    for row in np.flatnonzero(which):
        x, y, width, height = cv2.boundingRect(masks[row].astype(np.uint8))
        if width and height:
            boxes[row] = x, y, x + width, y + height
    return boxes
