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
from detkit.kind import Kind
from detkit.ops import rle_to_masks
from detkit.structures import Target

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
    moved = changed(target, lambda name, kind, value: kind.crop(value, placement, keypoint_pairs, share))
    return placement.image(image), settled(tightened(moved, is_cut), share, min_visibility)


def changed(target: Target, change: Callable[[str, Kind, Any], Any]) -> Target:
    """A target whose fields are what `change(name, kind, value)` makes of them; numbers are double on the way."""
    values = {name: (kind, getattr(target, name)) for name, kind in target.kinds().items()}
    present = {name: (kind, value) for name, (kind, value) in values.items() if value is not None}
    return replace(target, **{name: _in_double(name, kind, value, change) for name, (kind, value) in present.items()})


def _in_double(name: str, kind: Kind, value: Any, change: Callable[[str, Kind, Any], Any]) -> Any:
    if isinstance(value, Tensor) and value.dtype == torch.float32:
        return change(name, kind, value.double()).float()
    return change(name, kind, value)


def settled(target: Target, share: Tensor, min_visibility: float) -> Target:
    """A moved target of whose objects a `share` ``(N,)`` is seen: what is invisible dropped, what is too little made
    an ignore region."""
    if target.boxes is None and len(target) == 0:
        return target
    too_little, kept = share < min_visibility, share > 0
    if target.boxes is not None:
        sides = (target.boxes[:, 2:] - target.boxes[:, :2]).amin(dim=1)
        too_little, kept = too_little | (sides < _MIN_SIDE), kept & (sides > 0)
    varied = replace(target, iscrowd=too_little if target.iscrowd is None else target.iscrowd | too_little)
    return varied if kept.all() else varied[kept]


def tightened(target: Target, which: np.ndarray) -> Target:
    """The target with those boxes of `which` ``(N,)`` made tight around their masks (where these are not empty)."""
    if target.masks is None or target.boxes is None or not which.any():
        return target
    masks, boxes = rle_to_masks(target.masks).numpy(), target.boxes.clone()
    for row in np.flatnonzero(which):
        x, y, width, height = cv2.boundingRect(masks[row].astype(np.uint8))
        if width and height:
            boxes[row] = torch.tensor((x, y, x + width, y + height))
    return replace(target, boxes=boxes)


def box_areas(boxes: np.ndarray) -> np.ndarray:
    """``(N,)`` areas of ``(N, 4)``."""
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _seen(target: Target, part: tuple[float, float, float, float]) -> tuple[Tensor, np.ndarray]:
    """The share ``(N,)`` float64 of each object, by its mask if it has one, in a part of the picture; and whether the
    part cuts its box."""
    visible, is_cut = np.ones(len(target)), np.zeros(len(target), dtype=bool)
    if target.boxes is not None:
        old = target.boxes.numpy().astype(np.float64)
        clipped = np.clip(old, np.tile(part[:2], 2), np.tile(part[2:], 2))
        visible = box_areas(clipped) / np.maximum(box_areas(old), 1e-9)
        is_cut = (clipped != old).any(axis=1)
    if target.masks is not None:
        masks = rle_to_masks(target.masks).numpy()
        x1, y1, x2, y2 = (round(side) for side in part)
        full, seen = masks.sum(axis=(1, 2)), masks[:, y1:y2, x1:x2].sum(axis=(1, 2))
        visible = np.where(full > 0, seen / np.maximum(full, 1), visible)
    return torch.from_numpy(visible), is_cut
