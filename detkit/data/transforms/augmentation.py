"""Random augmentation of training images and their targets, on uint8.

Crop, zoom and mirror are exact in continuous coordinates (a point x of an image of width W is mirrored to W - x), and
colors change by one 3x4 matrix; everything else is a list of albumentations' transforms. All randomness comes from the
generator that is passed to a call.
"""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from detkit.data.transforms.albumentations_bridge import Bridge, Transform
from detkit.data.transforms.transform_target import place_target
from detkit.errors import InputError
from detkit.geometry import Placement, Size
from detkit.geometry.pasting import flip
from detkit.structures import Target

_MIDDLE_GRAY = 127.5
# YIQ, one luma and two chroma axes: rotating the chroma plane changes the hue.
_TO_YIQ = np.array([[0.299, 0.587, 0.114], [0.5959, -0.2746, -0.3213], [0.2115, -0.5227, 0.3112]])
_TO_RGB = np.linalg.inv(_TO_YIQ)


class Augmentation:
    """Augments an image and its target: crop, zoom, mirror, colors, then `transforms`.

    An object of which a crop leaves less than `min_visibility` becomes an ignore region (``Target.iscrowd``), which
    counts neither as an object nor as background; an object outside the crop is dropped. The box of a cut object is
    recomputed from what is left of its mask, where there are masks. Keypoints outside the image become absent (all
    zero). Images without objects are augmented as well.

    Args:
        horizontal_flip: probability of mirroring left to right.
        vertical_flip: probability of mirroring top to bottom.
        crop: probability of cutting out a part, placed so that it holds the center of a random object.
        crop_size: smallest and largest side of that part, relative to the image's, drawn for each side.
        zoom: smallest and largest factor by which the content is scaled while the image keeps its size: above 1 a part
            fills the image, below 1 the image is surrounded by a plain color. None: never.
        brightness: largest relative change of brightness, 0 for none.
        contrast: largest relative change of contrast.
        saturation: largest relative change of saturation.
        hue: largest change of hue, as a fraction of the color circle (0 to 0.5).
        min_visibility: the visible share that an object needs to stay one.
        transforms: further transforms by class path, applied last. They must give uint8 RGB, and move boxes, masks and
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
        self.brightness = brightness
        self.contrast = contrast
        self.saturation = saturation
        self.hue = hue
        self.transforms = Bridge(transforms) if transforms else None

    def __call__(
        self,
        image: np.ndarray,
        target: Target,
        random: np.random.Generator,
        keypoint_pairs: Sequence[tuple[int, int]] = (),
    ) -> tuple[np.ndarray, Target]:
        """An augmented image and its target.

        Args:
            image: ``(H, W, 3)`` uint8 RGB; not modified.
            target: in the pixels of `image`.
            random: the source of all randomness; the same state gives the same result.
            keypoint_pairs: the keypoints that are each other's mirror image, such as left and right eye.

        Raises:
            InputError: one of `transforms` failed or gave no uint8 RGB image.
        """
        image, target, flips = self.unflipped(image, target, random, keypoint_pairs)
        return flip(image, flips), target

    def unflipped(
        self,
        image: np.ndarray,
        target: Target,
        random: np.random.Generator,
        keypoint_pairs: Sequence[tuple[int, int]] = (),
    ) -> tuple[np.ndarray, Target, tuple[bool, bool]]:
        """As a call, but the image is still to be flipped horizontally, and vertically, as the third result says.

        Who copies the pixels anyway flips them at less cost, as `detkit.images.to_tensor` does.
        """
        height, width = image.shape[:2]
        placement = self._draw_placement(random, (height, width), target)
        target = place_target(placement, target, keypoint_pairs, self.min_visibility)
        image, flips = placement.unflipped_image(image)
        if any((self.brightness, self.contrast, self.saturation, self.hue)):
            image = cv2.transform(image, self._draw_colors(random))
        if self.transforms:
            image, flips = flip(image, flips), (False, False)
            image, target = self.transforms(image, target, random, keypoint_pairs, self.min_visibility)
        return image, target, flips

    def _draw_placement(self, random: np.random.Generator, size: Size, target: Target) -> Placement:
        placement = Placement.identity(size)
        if random.random() < self.crop:
            placement = _random_crop(random, size, random.uniform(*self.crop_size, 2), target)
        if self.zoom is not None:
            factor = np.exp(random.uniform(*np.log(self.zoom)))
            placement = placement.then(_zoom(random, placement.size, factor))
        drawn_x, drawn_y = random.random(2).tolist()
        mirrors = drawn_x < self.horizontal_flip, drawn_y < self.vertical_flip
        return placement.then(Placement.mirror(placement.size, *mirrors)) if any(mirrors) else placement

    def _draw_colors(self, random: np.random.Generator) -> np.ndarray:
        """The ``(3, 4)`` matrix that maps ``(R, G, B, 1)`` to the changed RGB."""
        brightness, contrast, saturation = 1 + random.uniform(-1, 1, 3) * (
            self.brightness,
            self.contrast,
            self.saturation,
        )
        angle = 2 * np.pi * random.uniform(-self.hue, self.hue)
        turn = np.array([[1, 0, 0], [0, np.cos(angle), -np.sin(angle)], [0, np.sin(angle), np.cos(angle)]])
        chroma = _TO_RGB @ turn @ np.diag([1, saturation, saturation]) @ _TO_YIQ
        matrix = brightness * contrast * chroma
        offset = brightness * (1 - contrast) * _MIDDLE_GRAY
        return np.column_stack([matrix, np.full(3, offset)]).astype(np.float32)


def _random_crop(random: np.random.Generator, size: Size, fraction: np.ndarray, target: Target) -> Placement:
    """A part of an image that holds the center of a random object."""
    sides = np.array(size[::-1])
    part = np.maximum(np.round(sides * fraction), 1).astype(int)
    low, high = np.zeros(2), sides - part
    objects = target.objects()
    if objects.boxes is not None and len(objects):
        box = objects.boxes.numpy()[random.integers(len(objects))]
        center = np.clip((box[:2] + box[2:]) / 2, 0, sides)
        low, high = np.clip(center - part, 0, high), np.clip(center, 0, high)
    x, y = random.uniform(low, high + 1e-9).round().astype(int).tolist()
    width, height = part.tolist()
    return Placement.part(size, (x, y, x + width, y + height), (0, 0, width, height), (height, width))


def _zoom(random: np.random.Generator, size: Size, factor: float) -> Placement:
    """An image scaled by `factor` within its own size."""
    sides = np.array(size[::-1])
    part = np.maximum(np.round(sides * min(factor, 1 / factor)), 1).astype(int)
    x, y = random.integers(0, sides - part + 1).tolist()
    width, height = part.tolist()
    inner, whole = (x, y, x + width, y + height), (0, 0, size[1], size[0])
    return Placement.part(size, inner, whole, size) if factor >= 1 else Placement.part(size, whole, inner, size)


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise InputError(f"augmentation.{message}")
