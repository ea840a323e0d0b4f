"""Augmentation for maps: a random scale, and a crop of fixed size in which no class prevails."""

from __future__ import annotations

from typing import Any

import numpy as np

from detkit.data.transforms.albumentations_bridge import Transform
from detkit.data.transforms.augmentation import Augmentation
from detkit.errors import InputError
from detkit.geometry import Placement, Size
from detkit.structures import Target
from detkit.structures.image_fields import IGNORE_INDEX

_TRIALS = 10


class ScaledCrop(Augmentation):
    """Scales an image at random and cuts out a crop of fixed size, then as `Augmentation` with its other options.

    Where the scaled image is smaller than the crop, it is surrounded by the mean color of ImageNet, and maps have no
    class there. Of up to 10 crops the first is taken in which no class has more than `max_class_share` of the annotated
    pixels, as is common since DeepLab's successors; the last one where all have.

    Args:
        size: height and width of the crop in pixels.
        scale: smallest and largest factor of both sides, equally likely on a logarithmic scale.
        max_class_share: largest share of a class in the crop; 1: any.
        horizontal_flip: this and the others as of `Augmentation`.
        vertical_flip: see there.
        brightness: see there.
        contrast: see there.
        saturation: see there.
        hue: see there.
        min_visibility: see there.
        transforms: see there.

    Raises:
        InputError: a value is out of range.
    """

    def __init__(
        self,
        size: tuple[int, int] = (512, 512),
        scale: tuple[float, float] = (0.5, 2.0),
        max_class_share: float = 0.75,
        horizontal_flip: float = 0.5,
        vertical_flip: float = 0.0,
        brightness: float = 0.0,
        contrast: float = 0.0,
        saturation: float = 0.0,
        hue: float = 0.0,
        min_visibility: float = 0.25,
        transforms: list[Transform] | None = None,
    ) -> None:
        if min(size) < 1 or not 0.05 <= scale[0] <= scale[1] <= 20 or not 0 < max_class_share <= 1:
            raise InputError(
                "augmentation: ScaledCrop needs a size of at least 1 x 1, 0.05 <= low <= high <= 20 for its scale and "
                f"0 < max_class_share <= 1, got {size}, {scale} and {max_class_share}"
            )
        super().__init__(
            horizontal_flip=horizontal_flip,
            vertical_flip=vertical_flip,
            brightness=brightness,
            contrast=contrast,
            saturation=saturation,
            hue=hue,
            min_visibility=min_visibility,
            transforms=transforms,
        )
        self.size, self.scale, self.max_class_share = (int(size[0]), int(size[1])), scale, max_class_share

    def _draw_placement(self, random: np.random.Generator, size: Size, target: Target) -> Placement:
        factor = np.exp(random.uniform(*np.log(self.scale)))
        for _ in range(_TRIALS):
            part, inner = self._draw_crop(random, size, factor)
            if self.max_class_share == 1 or _largest_share(target, part) <= self.max_class_share:
                break
        placement = Placement.part(size, part, inner, self.size)
        drawn_x, drawn_y = random.random(2).tolist()
        mirrors = drawn_x < self.horizontal_flip, drawn_y < self.vertical_flip
        return placement.then(Placement.mirror(placement.size, *mirrors)) if any(mirrors) else placement

    def _draw_crop(self, random: np.random.Generator, size: Size, factor: float) -> tuple[Any, Any]:
        """A part of the given image ``x1 y1 x2 y2`` in whole pixels, and its place in the crop."""
        spans = []
        for given, new in zip(size[::-1], self.size[::-1], strict=True):
            part = min(max(round(new / factor), 1), given)
            inner = min(max(round(part * factor), 1), new)
            start, place = random.integers(given - part + 1), random.integers(new - inner + 1)
            spans.append((int(start), int(start) + part, int(place), int(place) + inner))
        (x1, x2, left, right), (y1, y2, top, bottom) = spans
        return (x1, y1, x2, y2), (left, top, right, bottom)


def _largest_share(target: Target, part: tuple[int, int, int, int]) -> float:
    """The share of the most frequent class among the annotated pixels of a part; 0 where nothing is annotated."""
    if target.label_map is None:
        return 0.0
    x1, y1, x2, y2 = part
    labels = target.label_map[y1:y2, x1:x2].numpy()
    labels = labels[labels != IGNORE_INDEX[target.label_map.dtype]]
    return float(np.bincount(labels).max() / len(labels)) if len(labels) else 0.0
