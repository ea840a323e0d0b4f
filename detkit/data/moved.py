"""What becomes of a target when its picture is moved: objects cut, dropped or too small to be learned from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import torch

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
