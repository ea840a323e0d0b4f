"""Targets through albumentations and back, without its rounding and filtering of boxes."""

from __future__ import annotations

import os
import random as python_random
from collections.abc import Sequence

import cv2
import numpy as np
import torch

from detkit.data.moved import assemble, box_areas, settled_keypoints, tightened
from detkit.errors import InputError
from detkit.structures import Target

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # importing a library is no reason to ask the network
import albumentations

Transform = albumentations.BasicTransform | albumentations.BaseCompose


class Bridge:
    """A list of albumentations' transforms, applied to a picture and its `Target`.

    Args:
        transforms: applied in order. They must give uint8 RGB, and move boxes, masks and keypoints along where they
            move pixels.

    Raises:
        InputError: a transform cannot move boxes along.
    """

    def __init__(self, transforms: Sequence[Transform]) -> None:
        _check_transforms(transforms)
        self._moves = any(_moves_pixels(transform) for transform in transforms)
        self._compose = albumentations.Compose(
            list(transforms),
            bbox_params=albumentations.BboxParams("pascal_voc", clip=True) if self._moves else None,
            keypoint_params=albumentations.KeypointParams("xy", remove_invisible=False) if self._moves else None,
        )

    def __call__(
        self,
        image: np.ndarray,
        target: Target,
        random: np.random.Generator,
        keypoint_pairs: Sequence[tuple[int, int]],
        min_visibility: float,
    ) -> tuple[np.ndarray, Target]:
        """The varied picture and its target; arguments as of `Augmentation`.

        Raises:
            InputError: a transform failed or gave no uint8 RGB picture.
        """
        self._compose.set_random_state(random, python_random.Random(int(random.integers(2**63))))
        data = {"image": image, **(_to_albumentations(image, target) if self._moves else {})}
        try:
            result = self._compose(**data)
        except (ValueError, KeyError, TypeError, NotImplementedError, cv2.error) as error:
            raise InputError(f"augmentation.transforms failed on image {target.image_id!r}: {error}") from error
        varied = result["image"]
        if not isinstance(varied, np.ndarray) or varied.dtype != np.uint8 or varied.ndim != 3 or varied.shape[2] != 3:
            raise InputError(
                "augmentation.transforms must give a uint8 RGB picture; leave out transforms such as Normalize and "
                "ToTensorV2, the model does that itself"
            )
        if self._moves:
            target = _from_albumentations(result, image.shape[:2], target, keypoint_pairs, min_visibility)
        return np.ascontiguousarray(varied), target


def _leaves(transform: Transform) -> list[albumentations.BasicTransform]:
    if isinstance(transform, albumentations.BaseCompose):
        return [leaf for part in transform.transforms for leaf in _leaves(part)]
    return [transform]


def _moves_pixels(transform: Transform) -> bool:
    return any(not isinstance(leaf, albumentations.ImageOnlyTransform) for leaf in _leaves(transform))


def _check_transforms(transforms: Sequence[Transform]) -> None:
    for leaf in (leaf for transform in transforms for leaf in _leaves(transform)):
        missing = {"bboxes", "keypoints", "masks"} - leaf.available_keys
        if not isinstance(leaf, albumentations.ImageOnlyTransform) and missing:
            raise InputError(
                f"augmentation.transforms: {type(leaf).__name__} changes the picture but not its "
                f"{' and '.join(sorted(missing))}; use a transform that does"
            )


def _reference_points(size: tuple[int, int]) -> np.ndarray:
    """Three points in the middle ``(3, 2)``: where they go tells whether a transform mirrors, and how it scales."""
    height, width = size
    return np.array([[0.5, 0.5], [0.75, 0.5], [0.5, 0.75]]) * (width, height)


def _to_albumentations(image: np.ndarray, target: Target) -> dict[str, np.ndarray]:
    """Boxes and points carry their row in a further column: albumentations drops and keeps rows as it likes. Boxes have
    another column, 1 for crowd regions, for transforms that treat these apart.

    The points are the reference points, the corners of each box, and the keypoints. albumentations counts points from
    pixel centres, hence the half pixel.
    """
    boxes = target.boxes.numpy().astype(np.float64)
    crowds = np.zeros(len(boxes)) if target.iscrowd is None else target.iscrowd.numpy()
    corners = boxes[:, [[0, 1], [2, 1], [2, 3], [0, 3]]]
    keypoints = np.zeros((0, 2)) if target.keypoints is None else target.keypoints.numpy()[..., :2].reshape(-1, 2)
    points = np.concatenate([_reference_points(image.shape[:2]), corners.reshape(-1, 2), keypoints]) - 0.5
    data = {
        "bboxes": np.column_stack([boxes, np.arange(len(boxes)), crowds]),
        "keypoints": np.column_stack([points, np.arange(len(points))]),
    }
    if target.masks is not None and len(target):
        data["masks"] = target.masks.numpy().astype(np.uint8)
    return data


def _from_albumentations(
    result: dict[str, np.ndarray],
    old_size: tuple[int, int],
    target: Target,
    keypoint_pairs: Sequence[tuple[int, int]],
    min_visibility: float,
) -> Target:
    height, width = result["image"].shape[:2]
    rows = result["bboxes"][:, 4].astype(int) if len(result["bboxes"]) else np.zeros(0, dtype=int)
    old = target.boxes.numpy()[rows]
    boxes = np.array(result["bboxes"], dtype=np.float64)[:, :4]
    reference, corners, keypoints = _split_points(result["keypoints"], target)
    corners = corners[rows]
    scale = float(np.nan_to_num(_signed_area(reference) / _signed_area(_reference_points(old_size)), nan=1.0))
    visible = _visible_share(corners, (height, width))
    # Some transforms round boxes although they move nothing.
    unmoved = np.isclose(corners, old[:, [[0, 1], [2, 1], [2, 3], [0, 3]]], atol=1e-3).all(axis=(1, 2))
    unmoved &= (np.abs(boxes - old) <= 1).all(axis=1)
    boxes = np.where(unmoved[:, None], old, boxes)
    masks = None
    if target.masks is not None:
        masks = np.reshape(result.get("masks", []), (-1, height, width)).astype(bool)[rows]
        boxes = tightened(boxes, masks, ~unmoved)
    if keypoints is not None:
        keypoints = keypoints[rows]
        inside = ((keypoints[..., :2] >= 0) & (keypoints[..., :2] <= (width, height))).all(axis=-1)
        keypoints = settled_keypoints(keypoints, inside, keypoint_pairs, mirrored=scale < 0)
    area = None if target.area is None else target.area.numpy()[rows] * visible * abs(scale)
    return assemble(target[torch.from_numpy(rows)], boxes, visible, masks, keypoints, area, min_visibility)


def _split_points(result: np.ndarray, target: Target) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Reference points ``(3, 2)``, box corners ``(N, 4, 2)`` and keypoints ``(N, J, 3)``; NaN where dropped."""
    count = len(target)
    joints = 0 if target.keypoints is None else target.keypoints.shape[1]
    points = np.full((3 + count * (4 + joints), 2), np.nan)
    points[result[:, 2].astype(int)] = result[:, :2] + 0.5
    corners = points[3 : 3 + 4 * count].reshape(count, 4, 2)
    if target.keypoints is None:
        return points[:3], corners, None
    moved = points[3 + 4 * count :].reshape(count, joints, 2)
    return points[:3], corners, np.concatenate([moved, target.keypoints.numpy()[..., 2:]], axis=-1)


def _signed_area(triangle: np.ndarray) -> float:
    """Twice the area of a triangle ``(3, 2)``; its sign changes when it is mirrored; NaN where a point was lost."""
    (ax, ay), (bx, by) = triangle[1] - triangle[0], triangle[2] - triangle[0]
    return float(ax * by - ay * bx)


def _visible_share(corners: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The share ``(N,)`` of each box, given by its moved corners ``(N, 4, 2)``, that lies inside; 1 where unknown."""
    height, width = size
    whole = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    inside = np.clip(whole, 0, (width, height, width, height))
    return np.nan_to_num(box_areas(inside) / np.maximum(box_areas(whole), 1e-9), nan=1.0)
