"""Apply albumentations' transforms to images and targets, without its rounding and filtering of boxes."""

from __future__ import annotations

import os
import random as python_random
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
import torch

from detkit.data.transforms.transform_target import box_areas, drop_invisible, map_fields
from detkit.errors import InputError
from detkit.geometry import Size
from detkit.structures import Target
from detkit.structures.kind import Kind, Warp, Warped

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # no request to the network at import
import albumentations

Transform: TypeAlias = albumentations.BasicTransform | albumentations.BaseCompose


class Bridge:
    """A list of albumentations' transforms, applied to an image and its `Target`.

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
        """The transformed image and its target; arguments as of `Augmentation.__call__`.

        Raises:
            InputError: a transform failed or gave no uint8 RGB image.
        """
        self._compose.set_random_state(random, python_random.Random(int(random.integers(2**63))))
        packed = _PackedTarget(target, (image.shape[0], image.shape[1])) if self._moves else None
        data: dict[str, Any] = {"image": image} if packed is None else {"image": image, **packed.data()}
        self._register_pixel_fields(packed.pixels if packed else {})
        try:
            result = self._compose(**data)
        except (ValueError, KeyError, TypeError, NotImplementedError, cv2.error) as error:
            raise InputError(f"augmentation.transforms failed on image {target.image_id!r}: {error}") from error
        varied = result["image"]
        if not isinstance(varied, np.ndarray) or varied.dtype != np.uint8 or varied.ndim != 3 or varied.shape[2] != 3:
            raise InputError(
                "augmentation.transforms must give a uint8 RGB image; leave out transforms such as Normalize and "
                "ToTensorV2, the model does that itself"
            )
        if packed is not None:
            target = packed.unpack(result, keypoint_pairs, min_visibility)
        return np.ascontiguousarray(varied), target

    def _register_pixel_fields(self, names: Collection[str]) -> None:
        """Let albumentations transform per-pixel fields as it does masks."""
        unknown = {name: "mask" for name in names if name not in self._compose.additional_targets}
        if unknown:
            _check_transforms(self._compose.transforms, {"mask"})
            _check_keep_values(self._compose.transforms)
            self._compose.add_targets(unknown)


def _leaves(transform: Transform) -> list[albumentations.BasicTransform]:
    if isinstance(transform, albumentations.BaseCompose):
        return [leaf for part in transform.transforms for leaf in _leaves(part)]
    return [transform]


def _moves_pixels(transform: Transform) -> bool:
    return any(not isinstance(leaf, albumentations.ImageOnlyTransform) for leaf in _leaves(transform))


def _check_transforms(
    transforms: Sequence[Transform], keys: Collection[str] = frozenset({"bboxes", "keypoints", "masks"})
) -> None:
    for leaf in (leaf for transform in transforms for leaf in _leaves(transform)):
        missing = set(keys) - leaf.available_keys
        if not isinstance(leaf, albumentations.ImageOnlyTransform) and missing:
            raise InputError(
                f"augmentation.transforms: {type(leaf).__name__} changes the image but not its "
                f"{' and '.join(sorted(missing))}; use a transform that does"
            )


def _check_keep_values(transforms: Sequence[Transform]) -> None:
    """Refuse transforms that compute new values from those of maps, which are no quantities, or fill them with one."""
    for leaf in (leaf for transform in transforms for leaf in _leaves(transform)):
        computes = (
            isinstance(leaf, albumentations.Morphological),
            getattr(leaf, "mask_interpolation", cv2.INTER_NEAREST) not in (cv2.INTER_NEAREST, cv2.INTER_NEAREST_EXACT),
            getattr(leaf, "area_for_downscale", None) == "image_mask",
            np.any(getattr(leaf, "fill_mask", None) or 0),
        )
        if any(computes):
            raise InputError(
                f"augmentation.transforms: {type(leaf).__name__} would give pixels of maps a class that they do not "
                "have: leave it out, or its mask_interpolation, area_for_downscale and fill_mask; what comes from "
                "outside has no class"
            )


def _reference_points(size: Size) -> np.ndarray:
    """Points of an image ``(P, 2)`` that show whether a transform mirrors, how it scales, and whether it is affine."""
    height, width = size
    middle = [[0.5, 0.5], [0.75, 0.5], [0.5, 0.75]]
    return np.array([*middle, [0.1, 0.1], [0.9, 0.1], [0.1, 0.9], [0.9, 0.9]]) * (width, height)


@dataclass
class _PackedTarget:
    """A target in the arrays that albumentations takes.

    Boxes and points have a column with their row, because albumentations drops rows. Boxes have another column, 1 for
    crowd regions, for transforms that treat these separately. The points are the reference points, the corners of each
    box, and those of every field. albumentations counts points from pixel centers, hence the half pixel.
    """

    target: Target
    size: Size

    def __post_init__(self) -> None:
        kinds = self.target.kinds()
        values = {name: getattr(self.target, name) for name in kinds}
        self.warped = {name: kinds[name].to_warp(value) for name, value in values.items() if value is not None}
        boxes = np.zeros((0, 4)) if self.target.boxes is None else self.target.boxes.numpy().astype(np.float64)
        self.boxes, self.corners = boxes, boxes[:, [[0, 1], [2, 1], [2, 3], [0, 3]]]
        self.points = {name: one.points for name, one in self.warped.items() if one.points is not None}
        self.masks = {name: one.masks for name, one in self.warped.items() if one.masks is not None and len(one.masks)}
        self.pixels = {name: one.pixels for name, one in self.warped.items() if one.pixels is not None}

    def data(self) -> dict[str, np.ndarray]:
        """The arguments of albumentations' call, without the image."""
        crowds = np.zeros(len(self.boxes)) if self.target.iscrowd is None else self.target.iscrowd.numpy()
        parts = [_reference_points(self.size), self.corners, *self.points.values()]
        points = np.concatenate([part.reshape(-1, 2).astype(np.float64) for part in parts]) - 0.5
        data = {
            "bboxes": np.column_stack([self.boxes, np.arange(len(self.boxes)), crowds[: len(self.boxes)]]),
            "keypoints": np.column_stack([points, np.arange(len(points))]),
            **self.pixels,
        }
        if self.masks:
            data["masks"] = np.concatenate(list(self.masks.values()))
        return data

    def unpack(self, result: dict[str, np.ndarray], swaps: Sequence[tuple[int, int]], min_visibility: float) -> Target:
        """The target in the pixels of the result."""
        height, width = result["image"].shape[:2]
        self._check_repeated(result["keypoints"])
        reference, corners, points = self._split(result["keypoints"])
        rows, boxes, unmoved, visible = self._transformed_boxes(result["bboxes"], corners, (height, width))
        share, image_id = torch.from_numpy(visible), self.target.image_id
        warp = Warp(_reference_points(self.size), reference, self.size, (height, width), swaps, share, image_id)
        masks = self._split_masks(result, (height, width))
        kinds = self.target.kinds()
        warped = {
            name: Warped(
                _of_rows(points.get(name), rows, kinds[name]),
                _of_rows(masks.get(name), rows, kinds[name]),
                result.get(name) if name in self.pixels else None,
            )
            for name in self.warped
        }
        left = self.target if self.target.boxes is None else self.target[torch.from_numpy(rows)]
        values = map_fields(left, lambda name, kind, value: kind.from_warp(value, warped[name], warp))
        if self.target.boxes is not None:
            values["boxes"] = torch.from_numpy(boxes.astype(np.float32))
        return drop_invisible(left, values, ~unmoved, visible, min_visibility)

    def _check_repeated(self, keypoints: np.ndarray) -> None:
        """Refuse mirror images of objects beyond the border, whose points come back several times."""
        if len(self.target) and len(np.unique(keypoints[:, 2])) < len(keypoints):
            raise InputError(
                f"augmentation.transforms fill the border of image {self.target.image_id!r} with the image, and so "
                "repeat its objects: set border_mode to 0, cv2.BORDER_CONSTANT"
            )

    def _transformed_boxes(
        self, bboxes: np.ndarray, corners: np.ndarray, size: Size
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Rows, boxes, whether they are unmoved, and the visible share, of the boxes that are left."""
        if self.target.boxes is None:
            rows = np.arange(len(self.target))
            return rows, np.zeros((0, 4)), np.ones(len(rows), dtype=bool), np.ones(len(rows))
        rows = bboxes[:, 4].astype(int) if len(bboxes) else np.zeros(0, dtype=int)
        old, corners, boxes = self.boxes[rows], corners[rows], np.array(bboxes, dtype=np.float64)[:, :4]
        # Some transforms round boxes even if they move nothing.
        unmoved = np.isclose(corners, self.corners[rows], atol=1e-3).all(axis=(1, 2))
        unmoved &= (np.abs(boxes - old) <= 1).all(axis=1)
        return rows, np.where(unmoved[:, None], old, boxes), unmoved, _visible_share(corners, size)

    def _split(self, result: np.ndarray) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        """Reference points, box corners and the points of each field; NaN where dropped."""
        shapes = [_reference_points(self.size).shape, self.corners.shape, *(one.shape for one in self.points.values())]
        counts = [int(np.prod(shape[:-1])) for shape in shapes]
        points = np.full((sum(counts), 2), np.nan)
        points[result[:, 2].astype(int)] = result[:, :2] + 0.5
        parts = np.split(points, np.cumsum(counts)[:-1])
        reference, corners, *others = (part.reshape(shape) for part, shape in zip(parts, shapes, strict=True))
        return reference, corners, dict(zip(self.points, others, strict=True))

    def _split_masks(self, result: dict[str, np.ndarray], size: Size) -> dict[str, np.ndarray]:
        """The masks ``(N, H, W)`` of each field."""
        held = {name: one.masks for name, one in self.warped.items() if one.masks is not None}
        names, counts = list(held), [len(masks) for masks in held.values()]
        masks = np.reshape(result.get("masks", []), (-1, *size))
        return dict(zip(names, np.split(masks, np.cumsum(counts)[:-1]), strict=True)) if names else {}


def _of_rows(values: np.ndarray | None, rows: np.ndarray, kind: Kind) -> np.ndarray | None:
    return values[rows] if values is not None and kind.per_object else values


def _visible_share(corners: np.ndarray, size: Size) -> np.ndarray:
    """The share ``(N,)`` of each box, given by its moved corners ``(N, 4, 2)``, that lies inside; 1 where unknown."""
    height, width = size
    whole = np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)
    inside = np.clip(whole, 0, (width, height, width, height))
    return np.nan_to_num(box_areas(inside) / np.maximum(box_areas(whole), 1e-9), nan=1.0)
