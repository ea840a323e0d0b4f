"""Pictures made of several: mosaic, MixUp and copy-paste.

Each takes a picture and draws others as it needs them; what a stage draws has passed through the stages before it, so
that a MixUp after a mosaic mixes two mosaics. Everything is uint8, and the randomness comes from the generator alone.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from detkit.data.transforms.moved_target import move_through, tightened
from detkit.deprecation import moved_names
from detkit.deprecation.renamed_arguments import takes_old_names
from detkit.errors import InputError
from detkit.geometry import Placement, Size
from detkit.ops import rle_to_masks
from detkit.structures import Target
from detkit.structures.kind import Kind, Mix

__getattr__ = moved_names(__name__, {"CopyPaste": "detkit.data.CopyPaste"})

Picture = tuple[np.ndarray, Target]
"""``(H, W, 3)`` uint8 RGB and the objects in its pixels."""


class Mixing:
    """One way to make a picture of several.

    Attributes:
        way: how the pictures come together; a field of targets that cannot be joined so is refused where it is needed
            and None otherwise. None: the class joins whatever there is itself.
        reads: fields of targets that it needs.
    """

    way: Mix | None = None
    reads: frozenset[str] = frozenset()

    def __call__(self, picture: Picture, draw: Callable[[], Picture], random: np.random.Generator) -> Picture:
        """A mixed picture with the id of `picture`.

        Args:
            picture: the one to begin with; left as it is.
            draw: gives another, random picture of the data set.
            random: the source of all other randomness.
        """
        raise NotImplementedError


def check_mixing(stages: Sequence[Mixing], needed: Collection[str], kinds: Mapping[str, Kind]) -> None:
    """Refuse mixing that leaves a model without a field which it needs.

    Args:
        stages: the ways to mix.
        needed: the fields.
        kinds: of each field of the targets.

    Raises:
        InputError: a mixed picture has no such field; names both.
    """
    for stage in stages:
        for name in sorted(needed):
            if name in kinds and stage.way is not None and stage.way not in kinds[name].mixes:
                raise InputError(
                    f"data.mixing: a picture that {type(stage).__name__} makes of several has no {name}, which the "
                    f"model needs: leave {type(stage).__name__} out of data.mixing"
                )


def mixed(
    stages: Sequence[Mixing], index: int, read: Callable[[int], Picture], count: int, random: np.random.Generator
) -> Picture:
    """Picture `index` of `count`, mixed by one stage after the other.

    Args:
        stages: the ways to mix, the first one first.
        index: the picture to begin with.
        read: gives a picture as it is.
        count: how many pictures there are to draw from.
        random: the source of all randomness; the same state gives the same result.
    """
    if not stages:
        return read(index)
    *earlier, last = stages

    def draw() -> Picture:
        return mixed(earlier, int(random.integers(count)), read, count, random)

    return last(mixed(earlier, index, read, count, random), draw, random)


class Mosaic(Mixing):
    """Four pictures around a random point, each scaled to cover its quarter and cut there (Bochkovskiy et al.,
    "YOLOv4", 2020, section 3.3).

    What a cut leaves of an object is treated as in `Augmentation`. With masks, boxes are those of the masks.

    Args:
        probability: how often a picture becomes a mosaic.
        size: height and width of mosaics in pixels; None: those of the first picture.
        center: the point where the four meet lies between this fraction of height and width, and 1 minus it.
        scale: smallest and largest factor by which pictures are enlarged beyond what covers the quarter.
        min_visibility: the share of an object that must be left for it to stay an object.

    Raises:
        InputError: a value is out of range.
    """

    way = "beside"

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

    def __call__(self, picture: Picture, draw: Callable[[], Picture], random: np.random.Generator) -> Picture:
        """A mosaic with `picture` at its upper left."""
        if random.random() >= self.probability:
            return picture
        height, width = self.size or picture[0].shape[:2]
        y, x = (round(side * random.uniform(self.center, 1 - self.center)) for side in (height, width))
        canvas = np.empty((height, width, 3), dtype=np.uint8)
        targets = []
        for number, (top, bottom) in enumerate(((0, y), (0, y), (y, height), (y, height))):
            left, right = ((0, x), (x, width))[number % 2]
            image, target = picture if number == 0 else draw()
            placement = self._place(image.shape[:2], (left, top, right, bottom), (height, width), random)
            image, target = move_through(placement, image, target, (), self.min_visibility)
            canvas[top:bottom, left:right] = image[top:bottom, left:right]
            targets.append(with_boxes_of_masks(target))
        return canvas, joined(targets, self.way)

    def _place(
        self, size: Size, quarter: tuple[int, int, int, int], new_size: Size, random: np.random.Generator
    ) -> Placement:
        """A random part of a picture of `size` that covers `quarter`, ``x1 y1 x2 y2``."""
        left, top, right, bottom = quarter
        sides, wanted = np.array(size[::-1]), np.array([right - left, bottom - top])
        factor = (wanted / sides).max() * random.uniform(*self.scale)
        part = np.clip(np.round(wanted / factor), 1, sides).astype(int)
        x, y = random.integers(0, sides - part + 1).tolist()
        width, height = part.tolist()
        return Placement.part(size, (x, y, x + width, y + height), quarter, new_size)


class MixUp(Mixing):
    """Two pictures laid over each other, with the objects of both (Zhang et al., "mixup", 2018; for detection as in
    Zhang et al., "Bag of Freebies for Training Object Detection Neural Networks", 2019, section 3.1).

    Both keep their size and their place at the upper left; the new picture is as large as the larger in each direction.

    Args:
        probability: how often a picture is mixed.
        alpha: the first one's share is drawn from Beta(alpha, alpha): the larger, the closer to a half.

    Raises:
        InputError: a value is out of range.
    """

    way = "through"

    def __init__(self, probability: float = 0.5, alpha: float = 8.0) -> None:
        check_fraction("MixUp.probability", probability)
        check(alpha > 0, f"MixUp.alpha must be above 0, got {alpha}")
        self.probability = probability
        self.alpha = alpha

    def __call__(self, picture: Picture, draw: Callable[[], Picture], random: np.random.Generator) -> Picture:
        """`picture` and another one, one shining through the other."""
        if random.random() >= self.probability:
            return picture
        pictures = picture, draw()
        share = random.beta(self.alpha, self.alpha)
        height, width = np.max([image.shape[:2] for image, _ in pictures], axis=0).tolist()
        placements = [_at_the_upper_left(image.shape[:2], (height, width)) for image, _ in pictures]
        first, second = (place.image(image) for place, (image, _) in zip(placements, pictures, strict=True))
        blend = np.round(first * np.float32(share) + second * np.float32(1 - share)).astype(np.uint8)
        targets = [target.moved(place) for place, (_, target) in zip(placements, pictures, strict=True)]
        return blend, joined(targets, self.way)


def with_boxes_of_masks(target: Target) -> Target:
    """Scaled masks are rounded to pixels, and boxes are to agree with them; where no pixel is left it is an ignore
    region."""
    if target.masks is None:
        return target
    boxes = tightened(target.boxes, target.masks, np.ones(len(target), dtype=bool))
    is_lost = ~rle_to_masks(target.masks).flatten(1).any(dim=1)
    return replace(target, boxes=boxes, iscrowd=is_lost if target.iscrowd is None else target.iscrowd | is_lost)


def _at_the_upper_left(size: Size, new_size: Size) -> Placement:
    whole = (0, 0, size[1], size[0])
    return Placement.part(size, whole, whole, new_size)


def joined(targets: Sequence[Target], way: Mix) -> Target:
    """The objects of all, in one picture of the first one's id; None for what cannot be joined in this way."""
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
