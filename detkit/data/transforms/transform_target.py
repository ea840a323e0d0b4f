"""Transform a target with its image: crop objects, drop invisible ones, turn too small ones into ignore regions."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import torch
from torch import Tensor

from detkit.geometry import Placement
from detkit.geometry.pasting import whole_flips
from detkit.ops import RunLengths, rle_to_masks
from detkit.structures import Target
from detkit.structures.image_fields import ClassOfImage, Identity
from detkit.structures.kind import Kind
from detkit.structures.object_fields import Areas, Rows

_MIN_SIDE = 1.0  # pixels; smaller objects become ignore regions
_CLEARLY_LARGE = 1.01 * _MIN_SIDE  # also after rounding
_KEPT = (Rows, Areas, Identity, ClassOfImage)  # kinds whose values no flip changes


def apply_placement(
    placement: Placement,
    image: np.ndarray,
    target: Target,
    keypoint_pairs: Sequence[tuple[int, int]],
    min_visibility: float,
) -> tuple[np.ndarray, Target]:
    """An image and its target transformed by a placement; arguments as of `Augmentation.__call__`."""
    return placement.image(image), place_target(placement, target, keypoint_pairs, min_visibility)


def place_target(
    placement: Placement, target: Target, keypoint_pairs: Sequence[tuple[int, int]], min_visibility: float
) -> Target:
    """A target transformed by a placement; arguments as of `Augmentation.__call__`."""
    flipped = flip_target(placement, target, keypoint_pairs)
    if flipped is not None:
        return flipped
    share, is_cut = _visible_share(target, placement.visible_part)
    given = torch.from_numpy(share)
    values = map_fields(target, lambda name, kind, value: kind.crop(value, placement, keypoint_pairs, given))
    return drop_invisible(target, values, is_cut, share, min_visibility)


def flip_target(placement: Placement, target: Target, keypoint_pairs: Sequence[tuple[int, int]]) -> Target | None:
    """A target transformed by a placement that only flips, or keeps, the whole image, with the values that any
    placement gives; None where it does more, or an object is so small, or so far out, that it may change its status.
    """
    (height, width), boxes = placement.size, target.boxes
    flips = whole_flips(placement)
    if flips is None or boxes is None:
        return None
    corners = boxes.numpy().astype(np.float64)
    low, high = corners[:, :2], corners[:, 2:]
    inside = low.min(initial=0) >= 0 and high[:, 0].max(initial=0) <= width and high[:, 1].max(initial=0) <= height
    if not (inside and (high - low).min(initial=np.inf) >= _CLEARLY_LARGE):
        return None
    values: dict[str, Any] = {}
    if any(flips):
        for axis, side in enumerate((width, height)):
            if flips[axis]:
                corners[:, axis::2] = side - corners[:, axis::2][:, ::-1]
        values["boxes"] = torch.from_numpy(corners.astype(np.float32))
    if target.iscrowd is None:
        values["iscrowd"] = torch.zeros(len(corners), dtype=torch.bool)

    def crop(_: str, kind: Kind, value: Any) -> Any:
        return kind.crop(value, placement, keypoint_pairs, torch.ones(len(corners), dtype=torch.float64))

    for name, kind in target.kinds().items():
        has_moved = name in ("boxes", "iscrowd") or type(kind) in _KEPT
        if not has_moved and (value := getattr(target, name)) is not None:
            values[name] = _in_double(name, kind, value, crop)
    return target.with_fitting(values)


def map_fields(target: Target, change: Callable[[str, Kind, Any], Any]) -> dict[str, Any]:
    """The results of `change(name, kind, value)` for the annotated fields of a target.

    Floats are passed as doubles, except those of pixels, whose values are only moved.
    """
    return {
        name: _in_double(name, kind, value, change)
        for name, kind in target.kinds().items()
        if (value := getattr(target, name)) is not None
    }


def _in_double(name: str, kind: Kind, value: Any, change: Callable[[str, Kind, Any], Any]) -> Any:
    if isinstance(value, Tensor) and value.dtype == torch.float32 and not kind.per_pixel:
        return change(name, kind, value.double()).float()
    return change(name, kind, value)


def drop_invisible(
    target: Target, values: dict[str, Any], tight: np.ndarray, share: np.ndarray, min_visibility: float
) -> Target:
    """A transformed target without invisible objects; too small or barely visible ones become ignore regions.

    Args:
        target: before the transform.
        values: its fields after the transform.
        tight: ``(N,)`` bool, the objects whose boxes are recomputed from their masks, where there are masks.
        share: ``(N,)`` the visible share of each object.
        min_visibility: the visible share that an object needs to stay one.
    """
    boxes, is_too_small, kept = values.get("boxes"), share < min_visibility, share > 0
    if boxes is not None:
        if "masks" in values:
            boxes = values["boxes"] = tighten_boxes(boxes, values["masks"], tight)
        corners = boxes.numpy()
        sides = (corners[:, 2:] - corners[:, :2]).min(axis=1, initial=np.inf)
        is_too_small, kept = is_too_small | (sides < _MIN_SIDE), kept & (sides > 0)
    if len(share) or boxes is not None:
        crowd = values.get("iscrowd")
        values["iscrowd"] = torch.from_numpy(is_too_small if crowd is None else is_too_small | crowd.numpy())
    varied = replace(target, **values)
    return varied if kept.all() else varied[torch.from_numpy(kept)]


def tighten_boxes(boxes: Tensor, masks: Tensor | RunLengths, which: np.ndarray) -> Tensor:
    """Boxes ``(N, 4)``, those of `which` ``(N,)`` bool recomputed from their masks unless these are empty."""
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


def _visible_share(target: Target, part: tuple[float, float, float, float]) -> tuple[np.ndarray, np.ndarray]:
    """The share ``(N,)`` float64 of each object in a part of the image, and bool ``(N,)`` whether its box is cut.

    The share is that of the mask, where there are masks.
    """
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
        full, visible_pixels = masks.sum(axis=(1, 2)), masks[:, y1:y2, x1:x2].sum(axis=(1, 2))
        visible = np.where(full > 0, visible_pixels / np.maximum(full, 1), visible)
    return visible, is_cut
