"""Random variation of training pictures and their targets, on uint8.

Mirroring, cropping and zooming are done here, exact in continuous coordinates (a point x of a picture of width W is
mirrored to W - x); colours and everything else are albumentations' transforms, of which any list can be given.
The randomness of a call comes from the generator it is given and from nothing else.
"""

from __future__ import annotations

import os
import random as python_random
from collections.abc import Sequence
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch

from detkit.errors import InputError
from detkit.structures import Target

os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # importing a library is no reason to ask the network
import albumentations

Transform = albumentations.BasicTransform | albumentations.BaseCompose

_PADDING = (124, 116, 104)  # the mean colour of ImageNet: about zero once normalised
_MIN_SIDE = 1.0  # pixels; what is left of an object must be larger to be learned from


class Augmentation:
    """Varies a picture and its target: crop, zoom, mirror, colours, then `transforms`.

    An object of which a crop leaves less than `min_visibility` becomes an ignore region (``Target.iscrowd``): too
    little to be learned as an object, and no background either. An object that is left out altogether is dropped. The
    box of an object that was cut is made tight around what is left of its mask, where there are masks. Keypoints
    outside the picture become absent (all zero). Pictures without objects are varied as well.

    Args:
        horizontal_flip: probability of mirroring left to right.
        vertical_flip: probability of mirroring top to bottom.
        crop: probability of cutting out a part, placed so that it holds the centre of a random object.
        crop_size: smallest and largest side of that part, relative to the picture's, drawn for each side.
        zoom: smallest and largest factor by which the content is scaled inside the picture's own size: above 1 a
            part fills the picture, below 1 the picture becomes part of a plain one. None: never.
        brightness: largest relative change of brightness, 0 for none.
        contrast: largest relative change of contrast.
        saturation: largest relative change of saturation.
        hue: largest change of hue, as a fraction of the colour circle (0 to 0.5).
        min_visibility: the share of an object that must be left for it to stay an object.
        transforms: more transforms by class path, applied last. They must give uint8 RGB, and move boxes, masks and
            keypoints along where they move pixels.

    Raises:
        InputError: a value is out of range, or a transform cannot move boxes along.
    """

    def __init__(
        self,
        horizontal_flip: float = 0.5,
        vertical_flip: float = 0.0,
        crop: float = 0.0,
        crop_size: tuple[float, float] = (0.5, 1.0),
        zoom: tuple[float, float] | None = None,
        brightness: float = 0.0,
        contrast: float = 0.0,
        saturation: float = 0.0,
        hue: float = 0.0,
        min_visibility: float = 0.25,
        transforms: list[Transform] | None = None,
    ) -> None:
        fractions = {
            "horizontal_flip": horizontal_flip, "vertical_flip": vertical_flip, "crop": crop, "brightness": brightness,
            "contrast": contrast, "saturation": saturation, "min_visibility": min_visibility,
        }  # fmt: skip
        for name, value in fractions.items():
            _check(0 <= value <= 1, f"{name} must lie in [0, 1], got {value}")
        _check(0 <= hue <= 0.5, f"hue must lie in [0, 0.5], got {hue}")
        _check(0 < crop_size[0] <= crop_size[1] <= 1, f"crop_size must be 0 < low <= high <= 1: {crop_size}")
        _check(zoom is None or 0.1 <= zoom[0] <= zoom[1] <= 10, f"zoom must be 0.1 <= low <= high <= 10: {zoom}")
        self.horizontal_flip = horizontal_flip
        self.vertical_flip = vertical_flip
        self.crop = crop
        self.crop_size = crop_size
        self.zoom = zoom
        self.min_visibility = min_visibility
        jitter = albumentations.ColorJitter(
            *((1 - change, 1 + change) for change in (brightness, contrast, saturation)), hue=(-hue, hue), p=1.0
        )
        colours = [jitter] if any((brightness, contrast, saturation, hue)) else []
        self._transforms = [*colours, *(transforms or [])]
        _check_transforms(self._transforms)
        self._moves = any(_moves_pixels(transform) for transform in self._transforms)
        self._compose = albumentations.Compose(
            self._transforms,
            bbox_params=albumentations.BboxParams("pascal_voc", clip=True) if self._moves else None,
            keypoint_params=albumentations.KeypointParams("xy", remove_invisible=False) if self._moves else None,
        )

    def __call__(
        self,
        image: np.ndarray,
        target: Target,
        random: np.random.Generator,
        keypoint_pairs: Sequence[tuple[int, int]] = (),
    ) -> tuple[np.ndarray, Target]:
        """A varied picture and its target.

        Args:
            image: ``(H, W, 3)`` uint8 RGB; left as it is.
            target: in the pixels of `image`.
            random: the source of all randomness; the same state gives the same result.
            keypoint_pairs: the keypoints that are each other's mirror image, such as left and right eye.

        Raises:
            InputError: one of `transforms` failed or gave no uint8 RGB picture.
        """
        window = self._draw_window(random, image.shape[:2], target)
        image, target = _apply_window(window, image, target, keypoint_pairs, self.min_visibility)
        if self._transforms:
            image, target = self._apply_transforms(image, target, random, keypoint_pairs)
        return image, target

    def _draw_window(self, random: np.random.Generator, size: tuple[int, int], target: Target) -> _Window:
        height, width = size
        window = _Window(0, 0, width, height, 0, 0, width, height, width, height)
        if random.random() < self.crop:
            window = window.cut(random, random.uniform(*self.crop_size, 2), target)
        if self.zoom is not None:
            window = window.zoomed(random, np.exp(random.uniform(*np.log(self.zoom))))
        mirror_x, mirror_y = random.random(2) < (self.horizontal_flip, self.vertical_flip)
        return replace(window, mirror_x=bool(mirror_x), mirror_y=bool(mirror_y))

    def _apply_transforms(
        self,
        image: np.ndarray,
        target: Target,
        random: np.random.Generator,
        keypoint_pairs: Sequence[tuple[int, int]],
    ) -> tuple[np.ndarray, Target]:
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
            target = _from_albumentations(result, image.shape[:2], target, keypoint_pairs, self.min_visibility)
        return np.ascontiguousarray(varied), target


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise InputError(f"augmentation.{message}")


# ---- crop, zoom and mirror ----


@dataclass(frozen=True)
class _Window:
    """The part ``x y width height`` of a picture, where it is placed on a new one, and whether that is mirrored."""

    x: int
    y: int
    width: int
    height: int
    place_x: int
    place_y: int
    place_width: int
    place_height: int
    new_width: int
    new_height: int
    mirror_x: bool = False
    mirror_y: bool = False

    @property
    def scale(self) -> np.ndarray:
        return np.array([self.place_width / self.width, self.place_height / self.height])

    def cut(self, random: np.random.Generator, fraction: np.ndarray, target: Target) -> _Window:
        """A part of the picture with a random object's centre in it."""
        size = np.array([self.width, self.height])
        part = np.maximum(np.round(size * fraction), 1).astype(int)
        low, high = np.zeros(2), size - part
        boxes = target.objects().boxes.numpy()
        if len(boxes):
            box = boxes[random.integers(len(boxes))]
            centre = np.clip((box[:2] + box[2:]) / 2, 0, size)
            low, high = np.clip(centre - part, 0, high), np.clip(centre, 0, high)
        x, y = random.uniform(low, high + 1e-9).round().astype(int).tolist()
        width, height = part.tolist()
        return _Window(x, y, width, height, 0, 0, width, height, width, height)

    def zoomed(self, random: np.random.Generator, factor: float) -> _Window:
        """The content scaled by `factor` inside the same new picture."""
        size = np.array([self.width, self.height])
        part = np.maximum(np.round(size * min(factor, 1 / factor)), 1).astype(int)
        x, y = random.integers(0, size - part + 1).tolist()
        width, height = part.tolist()
        if factor >= 1:
            return replace(self, x=self.x + x, y=self.y + y, width=width, height=height)
        return replace(self, place_x=x, place_y=y, place_width=width, place_height=height)

    def picture(self, image: np.ndarray) -> np.ndarray:
        """``(H, W, 3)`` uint8."""
        image = image[self.y : self.y + self.height, self.x : self.x + self.width]
        if self._is_scaled():
            image = cv2.resize(image, (self.place_width, self.place_height), interpolation=self._interpolation())
        if self._is_padded():
            canvas = np.empty((self.new_height, self.new_width, 3), np.uint8)
            canvas[:] = _PADDING
            canvas[self._place()] = image
            image = canvas
        flip = {(True, False): 1, (False, True): 0, (True, True): -1}.get((self.mirror_x, self.mirror_y))
        return np.ascontiguousarray(image) if flip is None else cv2.flip(image, flip)

    def masks(self, masks: np.ndarray) -> np.ndarray:
        """``(N, H, W)`` bool."""
        masks = masks[:, self.y : self.y + self.height, self.x : self.x + self.width]
        if self._is_scaled():
            size, interpolation = (self.place_width, self.place_height), self._interpolation()
            scaled = [cv2.resize(mask.astype(np.uint8) * 255, size, interpolation=interpolation) for mask in masks]
            masks = np.reshape(scaled, (len(masks), self.place_height, self.place_width)) >= 128
        if self._is_padded():
            canvas = np.zeros((len(masks), self.new_height, self.new_width), dtype=bool)
            canvas[(slice(None), *self._place())] = masks
            masks = canvas
        return np.ascontiguousarray(masks[:, :: -1 if self.mirror_y else 1, :: -1 if self.mirror_x else 1])

    def points(self, points: np.ndarray) -> np.ndarray:
        """``(..., 2)`` x y from the old picture to the new one."""
        points = (points - (self.x, self.y)) * self.scale + (self.place_x, self.place_y)
        new_size = np.array([self.new_width, self.new_height])
        return np.where([self.mirror_x, self.mirror_y], new_size - points, points)

    def boxes(self, boxes: np.ndarray) -> np.ndarray:
        """``(N, 4)`` from the old picture to the new one."""
        corners = self.points(boxes.reshape(-1, 2, 2))
        return np.concatenate([corners.min(axis=1), corners.max(axis=1)], axis=1)

    def _is_scaled(self) -> bool:
        return (self.place_width, self.place_height) != (self.width, self.height)

    def _is_padded(self) -> bool:
        return (self.new_width, self.new_height) != (self.place_width, self.place_height)

    def _interpolation(self) -> int:
        return cv2.INTER_AREA if self.scale.min() < 0.5 else cv2.INTER_LINEAR

    def _place(self) -> tuple[slice, slice]:
        return (
            slice(self.place_y, self.place_y + self.place_height),
            slice(self.place_x, self.place_x + self.place_width),
        )


def _apply_window(
    window: _Window,
    image: np.ndarray,
    target: Target,
    keypoint_pairs: Sequence[tuple[int, int]],
    min_visibility: float,
) -> tuple[np.ndarray, Target]:
    old = target.boxes.numpy().astype(np.float64)
    low = np.array([window.x, window.y])
    high = np.array([window.x + window.width, window.y + window.height])
    clipped = np.clip(old, np.tile(low, 2), np.tile(high, 2))
    visible = _box_areas(clipped) / np.maximum(_box_areas(old), 1e-9)
    boxes, masks, keypoints = window.boxes(clipped), None, None
    if target.masks is not None:
        masks = window.masks(target.masks.numpy())
        part = target.masks.numpy()[:, window.y : window.y + window.height, window.x : window.x + window.width]
        full = target.masks.numpy().sum(axis=(1, 2))
        visible = np.where(full > 0, part.sum(axis=(1, 2)) / np.maximum(full, 1), visible)
        boxes = _tightened(boxes, masks, (clipped != old).any(axis=1))
    if target.keypoints is not None:
        points = target.keypoints.numpy()
        inside = ((points[..., :2] >= low) & (points[..., :2] <= high)).all(axis=-1)
        keypoints = np.concatenate([window.points(points[..., :2]), points[..., 2:]], axis=-1)
        keypoints = _settled_keypoints(keypoints, inside, keypoint_pairs, window.mirror_x != window.mirror_y)
    area = None if target.area is None else target.area.numpy() * visible * window.scale.prod()
    return window.picture(image), _assemble(target, boxes, visible, masks, keypoints, area, min_visibility)


def _assemble(
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


def _settled_keypoints(
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


def _box_areas(boxes: np.ndarray) -> np.ndarray:
    return (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])


def _tightened(boxes: np.ndarray, masks: np.ndarray, which: np.ndarray) -> np.ndarray:
    """`boxes` with those of `which` made tight around their masks (where these are not empty)."""
    boxes = boxes.copy()
    for row in np.flatnonzero(which):
        x, y, width, height = cv2.boundingRect(masks[row].astype(np.uint8))
        if width and height:
            boxes[row] = x, y, x + width, y + height
    return boxes


# ---- albumentations ----


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
    """Boxes and points carry their row in a last column: albumentations drops and keeps rows as it likes.

    The points are the reference points, the corners of each box, and the keypoints. albumentations counts points from
    pixel centres, hence the half pixel.
    """
    boxes = target.boxes.numpy().astype(np.float64)
    corners = boxes[:, [[0, 1], [2, 1], [2, 3], [0, 3]]]
    keypoints = np.zeros((0, 2)) if target.keypoints is None else target.keypoints.numpy()[..., :2].reshape(-1, 2)
    points = np.concatenate([_reference_points(image.shape[:2]), corners.reshape(-1, 2), keypoints]) - 0.5
    data = {
        "bboxes": np.column_stack([boxes, np.arange(len(boxes))]),
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
    boxes = np.array(result["bboxes"], dtype=np.float64).reshape(len(rows), -1)[:, :4]
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
        boxes = _tightened(boxes, masks, ~unmoved)
    if keypoints is not None:
        keypoints = keypoints[rows]
        inside = ((keypoints[..., :2] >= 0) & (keypoints[..., :2] <= (width, height))).all(axis=-1)
        keypoints = _settled_keypoints(keypoints, inside, keypoint_pairs, mirrored=scale < 0)
    area = None if target.area is None else target.area.numpy()[rows] * visible * abs(scale)
    return _assemble(target[torch.from_numpy(rows)], boxes, visible, masks, keypoints, area, min_visibility)


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
    return np.nan_to_num(_box_areas(inside) / np.maximum(_box_areas(whole), 1e-9), nan=1.0)
