"""What becomes of a target when its picture is moved: objects cut, dropped or too small to be learned from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from detkit.geometry import Placement
from detkit.ops import RunLengths, rle_to_masks
from detkit.structures import Target
from detkit.structures.kind import Kind

_MIN_SIDE = 1.0  # pixels; what is left of an object must be larger to be learned from


def move_through(
    placement: Placement,
    image: np.ndarray,
    target: Target,
    keypoint_pairs: Sequence[tuple[int, int]],
    min_visibility: float,
) -> tuple[np.ndarray, Target]:
    """A picture and its target as a placement shows them; arguments as of `Augmentation`."""
    share, is_cut = _seen(target, placement.shown)
    given = torch.from_numpy(share)
    values = changed(target, lambda name, kind, value: kind.crop(value, placement, keypoint_pairs, given))
    return placement.image(image), settled(target, values, is_cut, share, min_visibility)


def changed(target: Target, change: Callable[[str, Kind, Any], Any]) -> dict[str, Any]:
    """What `change(name, kind, value)` makes of the fields that a target has; numbers are double on the way."""
    return {
        name: _in_double(name, kind, value, change)
        for name, kind in target.kinds().items()
        if (value := getattr(target, name)) is not None
    }


def _in_double(name: str, kind: Kind, value: Any, change: Callable[[str, Kind, Any], Any]) -> Any:
    if isinstance(value, Tensor) and value.dtype == torch.float32:
        return change(name, kind, value.double()).float()
    return change(name, kind, value)


def settled(
    target: Target, values: dict[str, Any], tight: np.ndarray, share: np.ndarray, min_visibility: float
) -> Target:
    """A target after a move: what is invisible dropped, what is too little made an ignore region.

    Args:
        target: before.
        values: its fields after the move.
        tight: ``(N,)`` bool, whose boxes are to be made tight around their masks, where there are masks.
        share: ``(N,)`` how much of each object is seen.
        min_visibility: the share that must be seen for an object to stay one.
    """
    boxes, too_little, kept = values.get("boxes"), share < min_visibility, share > 0
    if boxes is not None:
        if "masks" in values:
            boxes = values["boxes"] = tightened(boxes, values["masks"], tight)
        corners = boxes.numpy()
        sides = (corners[:, 2:] - corners[:, :2]).min(axis=1, initial=np.inf)
        too_little, kept = too_little | (sides < _MIN_SIDE), kept & (sides > 0)
    if len(share) or boxes is not None:
        crowd = values.get("iscrowd")
        values["iscrowd"] = torch.from_numpy(too_little if crowd is None else too_little | crowd.numpy())
    varied = replace(target, **values)
    return varied if kept.all() else varied[torch.from_numpy(kept)]


def tightened(boxes: Tensor, masks: Tensor | RunLengths, which: np.ndarray) -> Tensor:
    """`boxes` ``(N, 4)`` with those of `which` ``(N,)`` made tight around their masks (where these are not empty)."""
    if not which.any():
        return boxes
    tight, pixels = boxes.numpy().copy(), rle_to_masks(masks).numpy()
    for row in np.flatnonzero(which):
        x, y, width, height = cv2.boundingRect(pixels[row].view(np.uint8))
        if width and height:
            tight[row] = x, y, x + width, y + height
    return torch.from_numpy(tight)


def box_areas(boxes: np.ndarray) -> np.ndarray:
    """``(N,)`` areas of ``(N, 4)``."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _seen(target: Target, part: tuple[float, float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """The share ``(N,)`` float64 of each object, by its mask if it has one, in a part of the picture; and whether the
    part cuts its box."""
    if target.boxes is None:
        visible, is_cut = np.ones(len(target)), np.zeros(len(target), dtype=bool)
    else:
        old, (x1, y1, x2, y2) = target.boxes.numpy().astype(np.float64), part
        low, high = np.array(((x1, y1, x1, y1), (x2, y2, x2, y2)), np.float64)
        clipped = np.minimum(np.maximum(old, low), high)  # np.clip takes three times as long
        visible = box_areas(clipped) / np.maximum(box_areas(old), 1e-9)
        is_cut = (clipped != old).any(axis=1)
    if target.masks is not None:
        masks = rle_to_masks(target.masks).numpy()
        x1, y1, x2, y2 = (round(side) for side in part)
        full, seen = masks.sum(axis=(1, 2)), masks[:, y1:y2, x1:x2].sum(axis=(1, 2))
        visible = np.where(full > 0, seen / np.maximum(full, 1), visible)
    return visible, is_cut
