"""Augmentation that combines several training images: the base class, mosaic and MixUp.

A stage takes one sample and draws others as it needs them; what it draws has passed through the stages before it, so
that a MixUp after a mosaic mixes two mosaics. Images are uint8, and all randomness comes from the generator.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from detkit.data.transforms.transform_target import apply_placement, tighten_boxes
from detkit.deprecation import moved_names
from detkit.deprecation.renamed_arguments import takes_old_names
from detkit.errors import InputError
from detkit.geometry import Placement, Size
from detkit.ops import rle_to_masks
from detkit.structures import Target
from detkit.structures.kind import Kind, Mix

__getattr__ = moved_names(
    __name__,
    {
        "CopyPaste": "detkit.data.CopyPaste",
        "Picture": "detkit.data.transforms.mixing.ImageAndTarget",
        "mixed": "detkit.data.transforms.mixing.mix",
    },
)

ImageAndTarget = tuple[np.ndarray, Target]
"""An image ``(H, W, 3)`` uint8 RGB, and its target in its pixels."""


class Mixing(ABC):
    """Base class of stages that combine several images into one.

    Attributes:
        way: how the images are combined; a field of targets that does not support it is refused where a model needs it
            and None otherwise. None: the class joins all fields itself.
        reads: fields of targets that the stage needs.
    """

    way: Mix | None = None
    reads: frozenset[str] = frozenset()

    @abstractmethod
    def __call__(
        self, sample: ImageAndTarget, draw: Callable[[], ImageAndTarget], random: np.random.Generator
    ) -> ImageAndTarget:
        """A mixed sample with the image id of `sample`.

        Args:
            sample: the first image and its target; not modified.
            draw: gives another, random sample of the data set.
            random: the source of all other randomness.
        """


def check_mixing(stages: Sequence[Mixing], needed: Collection[str], kinds: Mapping[str, Kind]) -> None:
    """Refuse stages after which targets lack a field that a model needs.

    Args:
        stages: of `data.mixing`.
        needed: the names of the fields.
        kinds: the kind of each field of the targets.

    Raises:
        InputError: a mixed target has no such field; names the stage and the field.
    """
    for stage in stages:
        for name in sorted(needed):
            if name in kinds and stage.way is not None and stage.way not in kinds[name].mixes:
                raise InputError(
                    f"data.mixing: {type(stage).__name__} gives images without {name}, which the model needs: "
                    f"leave {type(stage).__name__} out of data.mixing"
                )


def mix(
    stages: Sequence[Mixing], index: int, read: Callable[[int], ImageAndTarget], count: int, random: np.random.Generator
) -> ImageAndTarget:
    """Read a sample and mix it with others, one stage after the other.

    Args:
        stages: applied in order; none: the sample is returned as it is read.
        index: of the first sample.
        read: reads the sample of an index.
        count: the number of samples to draw from.
        random: the source of all randomness; the same state gives the same result.
    """
    if not stages:
        return read(index)
    *earlier, last = stages

    def draw() -> ImageAndTarget:
        return mix(earlier, int(random.integers(count)), read, count, random)

    return last(mix(earlier, index, read, count, random), draw, random)


class Mosaic(Mixing):
    """Four images around a random point, each scaled to cover its quarter and cropped there (Bochkovskiy et al.,
    "YOLOv4", 2020, section 3.3).

    Cropped objects are treated as in `Augmentation`. With masks, boxes are those of the masks.

    Args:
        probability: how often an image becomes a mosaic.
        size: height and width of mosaics in pixels; None: those of the first image.
        center: the point where the four meet lies between this fraction of height and width, and 1 minus it.
        scale: smallest and largest factor by which images are enlarged beyond what covers the quarter.
        min_visibility: the share of an object that must be left for it to stay an object.

    Raises:
        InputError: a value is out of range.
    """

    way: Mix | None = "beside"

    @takes_old_names
    def __init__(
        self,
        probability: float = 1.0,
        size: tuple[int, int] | None = None,
        center: float = 0.2,
        scale: tuple[float, float] = (1.0, 1.5),
        min_visibility: float = 0.25,
    ) -> None:
        check_fraction("Mosaic.probability", probability)
        check_fraction("Mosaic.min_visibility", min_visibility)
        check(size is None or min(size) >= 8, f"Mosaic.size must be at least 8 x 8 pixels, got {size}")
        check(0 < center <= 0.5, f"Mosaic.center must lie above 0 and up to 0.5, got {center}")
        check(1 <= scale[0] <= scale[1], f"Mosaic.scale must be 1 <= low <= high, got {scale}")
        self.probability = probability
        self.size = size
        self.center = center
        self.scale = scale
        self.min_visibility = min_visibility

    def __call__(
        self, sample: ImageAndTarget, draw: Callable[[], ImageAndTarget], random: np.random.Generator
    ) -> ImageAndTarget:
        """A mosaic with `sample` at the top left."""
        if random.random() >= self.probability:
            return sample
        height, width = self.size or sample[0].shape[:2]
        y, x = (round(side * random.uniform(self.center, 1 - self.center)) for side in (height, width))
        canvas = np.empty((height, width, 3), dtype=np.uint8)
        targets = []
        for number, (top, bottom) in enumerate(((0, y), (0, y), (y, height), (y, height))):
            left, right = ((0, x), (x, width))[number % 2]
            image, target = sample if number == 0 else draw()
            placement = self._random_placement(image.shape[:2], (left, top, right, bottom), (height, width), random)
            image, target = apply_placement(placement, image, target, (), self.min_visibility)
            canvas[top:bottom, left:right] = image[top:bottom, left:right]
            targets.append(fit_boxes_to_masks(target))
        return canvas, join_targets(targets, "beside")

    def _random_placement(
        self, size: Size, quarter: tuple[int, int, int, int], new_size: Size, random: np.random.Generator
    ) -> Placement:
        """A random part of an image of `size` that covers `quarter`, ``x1 y1 x2 y2``."""
        left, top, right, bottom = quarter
        sides, quarter_sides = np.array(size[::-1]), np.array([right - left, bottom - top])
        factor = (quarter_sides / sides).max() * random.uniform(*self.scale)
        part = np.clip(np.round(quarter_sides / factor), 1, sides).astype(int)
        x, y = random.integers(0, sides - part + 1).tolist()
        width, height = part.tolist()
        return Placement.part(size, (x, y, x + width, y + height), quarter, new_size)


class MixUp(Mixing):
    """The blend of two images, with the objects of both (Zhang et al., "mixup", 2018; for detection as in
    Zhang et al., "Bag of Freebies for Training Object Detection Neural Networks", 2019, section 3.1).

    Both keep their size and lie at the top left; the result is as large as the larger of them in each direction.

    Args:
        probability: how often an image is mixed.
        alpha: the weight of the first image is drawn from Beta(alpha, alpha): the larger, the closer to a half.

    Raises:
        InputError: a value is out of range.
    """

    way: Mix | None = "through"

    def __init__(self, probability: float = 0.5, alpha: float = 8.0) -> None:
        check_fraction("MixUp.probability", probability)
        check(alpha > 0, f"MixUp.alpha must be above 0, got {alpha}")
        self.probability = probability
        self.alpha = alpha

    def __call__(
        self, sample: ImageAndTarget, draw: Callable[[], ImageAndTarget], random: np.random.Generator
    ) -> ImageAndTarget:
        """`sample` blended with another one."""
        if random.random() >= self.probability:
            return sample
        samples = sample, draw()
        share = random.beta(self.alpha, self.alpha)
        height, width = np.max([image.shape[:2] for image, _ in samples], axis=0).tolist()
        placements = [_at_top_left(image.shape[:2], (height, width)) for image, _ in samples]
        first, second = (placement.image(image) for placement, (image, _) in zip(placements, samples, strict=True))
        blend = np.round(first * np.float32(share) + second * np.float32(1 - share)).astype(np.uint8)
        targets = [target.moved(placement) for placement, (_, target) in zip(placements, samples, strict=True)]
        return blend, join_targets(targets, "through")


def fit_boxes_to_masks(target: Target) -> Target:
    """The target with boxes around its masks, which scaling has rounded; empty objects become ignore regions."""
    if target.masks is None or target.boxes is None:
        return target
    boxes = tighten_boxes(target.boxes, target.masks, np.ones(len(target), dtype=bool))
    is_empty = ~rle_to_masks(target.masks).flatten(1).any(dim=1)
    return replace(target, boxes=boxes, iscrowd=is_empty if target.iscrowd is None else target.iscrowd | is_empty)


def _at_top_left(size: Size, new_size: Size) -> Placement:
    whole = (0, 0, size[1], size[0])
    return Placement.part(size, whole, whole, new_size)


def join_targets(targets: Sequence[Target], way: Mix) -> Target:
    """One target with all objects and the first one's image id; None in fields that cannot be joined this way."""
    counts = [len(target) for target in targets]
    values: dict[str, Any] = {}
    for name, kind in targets[0].kinds().items():
        parts = [getattr(target, name) for target in targets]
        known = any(part is not None for part in parts)
        values[name] = kind.join(name, parts, counts) if known and way in kind.mixes else None
    return type(targets[0])(**values)


def check(condition: bool, message: str) -> None:
    """Raise an `InputError` about data.mixing unless `condition` holds."""
    if not condition:
        raise InputError(f"data.mixing: {message}")


def check_fraction(name: str, value: float) -> None:
    """Raise an `InputError` unless `value` lies in [0, 1]."""
    check(0 <= value <= 1, f"{name} must lie in [0, 1], got {value}")
