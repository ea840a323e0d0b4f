"""Pictures made of several: mosaic, MixUp and copy-paste.

Each takes a picture and draws others as it needs them; what a stage draws has passed through the stages before it, so
that a MixUp after a mosaic mixes two mosaics. Everything is uint8, and the randomness comes from the generator alone.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields, replace

import numpy as np
import torch
from torch import Tensor

from detkit.data.moved import assemble, move_through, tightened
from detkit.data.window import PADDING, Window
from detkit.errors import InputError
from detkit.structures import Target

Picture = tuple[np.ndarray, Target]
"""``(H, W, 3)`` uint8 RGB and the objects in its pixels."""


class Mixing:
    """One way to make a picture of several."""

    def __call__(self, picture: Picture, draw: Callable[[], Picture], random: np.random.Generator) -> Picture:
        """A mixed picture with the id of `picture`.

        Args:
            picture: the one to begin with; left as it is.
            draw: gives another, random picture of the data set.
            random: the source of all other randomness.
        """
        raise NotImplementedError


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
        centre: the point where the four meet lies between this fraction of height and width, and 1 minus it.
        scale: smallest and largest factor by which pictures are enlarged beyond what covers the quarter.
        min_visibility: the share of an object that must be left for it to stay an object.

    Raises:
        InputError: a value is out of range.
    """

    def __init__(
        self,
        probability: float = 1.0,
        size: tuple[int, int] | None = None,
        centre: float = 0.2,
        scale: tuple[float, float] = (1.0, 1.5),
        min_visibility: float = 0.25,
    ) -> None:
        _check_fraction("Mosaic.probability", probability)
        _check_fraction("Mosaic.min_visibility", min_visibility)
        _check(size is None or min(size) >= 8, f"Mosaic.size must be at least 8 x 8 pixels, got {size}")
        _check(0 < centre <= 0.5, f"Mosaic.centre must lie above 0 and up to 0.5, got {centre}")
        _check(1 <= scale[0] <= scale[1], f"Mosaic.scale must be 1 <= low <= high, got {scale}")
        self.probability = probability
        self.size = size
        self.centre = centre
        self.scale = scale
        self.min_visibility = min_visibility

    def __call__(self, picture: Picture, draw: Callable[[], Picture], random: np.random.Generator) -> Picture:
        """A mosaic with `picture` at its upper left."""
        if random.random() >= self.probability:
            return picture
        height, width = self.size or picture[0].shape[:2]
        y, x = (round(side * random.uniform(self.centre, 1 - self.centre)) for side in (height, width))
        canvas = np.empty((height, width, 3), dtype=np.uint8)
        targets = []
        for number, (top, bottom) in enumerate(((0, y), (0, y), (y, height), (y, height))):
            left, right = ((0, x), (x, width))[number % 2]
            image, target = picture if number == 0 else draw()
            window = self._window(image.shape[:2], (left, top, right, bottom), (height, width), random)
            image, target = move_through(window, image, target, (), self.min_visibility)
            canvas[top:bottom, left:right] = image[top:bottom, left:right]
            targets.append(_with_boxes_of_masks(target))
        return canvas, _joined(targets)

    def _window(
        self,
        size: tuple[int, int],
        quarter: tuple[int, int, int, int],
        new_size: tuple[int, int],
        random: np.random.Generator,
    ) -> Window:
        """A random part of a picture of `size` that covers `quarter`, ``x1 y1 x2 y2``."""
        left, top, right, bottom = quarter
        sides, wanted = np.array(size[::-1]), np.array([right - left, bottom - top])
        factor = (wanted / sides).max() * random.uniform(*self.scale)
        part = np.clip(np.round(wanted / factor), 1, sides).astype(int)
        x, y = random.integers(0, sides - part + 1).tolist()
        new_height, new_width = new_size
        return Window(x, y, *part.tolist(), left, top, *wanted.tolist(), new_width, new_height)


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

    def __init__(self, probability: float = 0.5, alpha: float = 8.0) -> None:
        _check_fraction("MixUp.probability", probability)
        _check(alpha > 0, f"MixUp.alpha must be above 0, got {alpha}")
        self.probability = probability
        self.alpha = alpha

    def __call__(self, picture: Picture, draw: Callable[[], Picture], random: np.random.Generator) -> Picture:
        """`picture` and another one, one shining through the other."""
        if random.random() >= self.probability:
            return picture
        pictures = picture, draw()
        share = random.beta(self.alpha, self.alpha)
        height, width = np.max([image.shape[:2] for image, _ in pictures], axis=0).tolist()
        placed = [_on_canvas(one, height, width) for one in pictures]
        (first, _), (second, _) = placed
        blend = np.round(first * np.float32(share) + second * np.float32(1 - share)).astype(np.uint8)
        return blend, _joined([target for _, target in placed])


class CopyPaste(Mixing):
    """Objects of another picture, cut out by their masks and pasted in front (Ghiasi et al., "Simple Copy-Paste is a
    Strong Data Augmentation Method for Instance Segmentation", 2021, section 3).

    The other picture is scaled at random first. Objects that the pasted ones cover lose that part of their masks, and
    their boxes follow; of which too little is left becomes an ignore region, and what is covered altogether is dropped.
    Covered keypoints become hidden. Crowd regions are not pasted.

    Args:
        probability: how often a picture gets objects of another.
        share: the probability of each object to be pasted.
        scale: smallest and largest factor by which the other picture is scaled, relative to one that fits.
        min_visibility: the share of an object that must be left for it to stay an object.

    Raises:
        InputError: a value is out of range; when called, the data has no masks.
    """

    def __init__(
        self,
        probability: float = 0.5,
        share: float = 0.5,
        scale: tuple[float, float] = (0.5, 1.5),
        min_visibility: float = 0.25,
    ) -> None:
        for name, value in {"probability": probability, "share": share, "min_visibility": min_visibility}.items():
            _check_fraction(f"CopyPaste.{name}", value)
        _check(0.1 <= scale[0] <= scale[1] <= 10, f"CopyPaste.scale must be 0.1 <= low <= high <= 10, got {scale}")
        self.probability = probability
        self.share = share
        self.scale = scale
        self.min_visibility = min_visibility

    def __call__(self, picture: Picture, draw: Callable[[], Picture], random: np.random.Generator) -> Picture:
        """`picture` with objects of another one in front."""
        if random.random() >= self.probability:
            return picture
        image, target = picture
        other, objects = draw()
        if target.masks is None or objects.masks is None:
            raise InputError("data.mixing: CopyPaste cuts objects out by their masks; set data.with_masks to true")
        objects = objects.objects()
        objects = objects[torch.from_numpy(random.random(len(objects)) < self.share)]
        other, objects = self._placed(other, objects, image.shape[:2], random)
        objects = _with_boxes_of_masks(objects.objects())
        pasted = objects.masks.numpy().any(axis=0)
        image = np.where(pasted[..., None], other, image)
        return image, _joined([_covered(target, pasted, self.min_visibility), objects])

    def _placed(self, image: np.ndarray, target: Target, size: tuple[int, int], random: np.random.Generator) -> Picture:
        """The other picture scaled, at a random place of one of `size`."""
        sides, new = np.array(image.shape[1::-1]), np.array(size[::-1])
        factor = (new / sides).min() * np.exp(random.uniform(*np.log(self.scale)))
        part = np.clip(np.round(new / factor), 1, sides).astype(int)
        place = np.clip(np.round(part * factor), 1, new).astype(int)
        x, y = random.integers(0, sides - part + 1).tolist()
        place_x, place_y = random.integers(0, new - place + 1).tolist()
        window = Window(x, y, *part.tolist(), place_x, place_y, *place.tolist(), *new.tolist())
        return move_through(window, image, target, (), self.min_visibility)


def _covered(target: Target, cover: np.ndarray, min_visibility: float) -> Target:
    """The objects behind a `cover` ``(H, W)`` bool."""
    masks = target.masks.numpy()
    left = masks & ~cover
    full, rest = masks.sum(axis=(1, 2)), left.sum(axis=(1, 2))
    visible = np.where(full > 0, rest / np.maximum(full, 1), 1.0)
    boxes = tightened(target.boxes.numpy(), left, rest < full)
    area = None if target.area is None else target.area.numpy() * visible
    keypoints = None if target.keypoints is None else _hidden_behind(cover, target.keypoints.numpy())
    return assemble(target, boxes, visible, left, keypoints, area, min_visibility)


def _hidden_behind(cover: np.ndarray, keypoints: np.ndarray) -> np.ndarray:
    """Keypoints ``(N, J, 3)``, those behind the cover no longer visible."""
    height, width = cover.shape
    x, y = (np.clip(keypoints[..., k].astype(int), 0, side - 1) for k, side in enumerate((width, height)))
    hidden = cover[y, x] & (keypoints[..., 2] > 0)
    return np.concatenate([keypoints[..., :2], np.where(hidden, 1, keypoints[..., 2])[..., None]], axis=-1)


def _with_boxes_of_masks(target: Target) -> Target:
    """Scaled masks are rounded to pixels, and boxes are to agree with them; where no pixel is left it is an ignore
    region."""
    if target.masks is None:
        return target
    boxes = tightened(target.boxes.numpy(), target.masks.numpy(), np.ones(len(target), dtype=bool))
    is_lost = ~target.masks.flatten(1).any(dim=1)
    return replace(target, boxes=torch.from_numpy(boxes), iscrowd=target.iscrowd | is_lost)


def _on_canvas(picture: Picture, height: int, width: int) -> Picture:
    """The picture at the upper left of a plain one."""
    image, target = picture
    canvas = np.full((height, width, 3), PADDING, dtype=np.uint8)
    canvas[: image.shape[0], : image.shape[1]] = image
    if target.masks is not None:
        masks = torch.zeros(len(target), height, width, dtype=torch.bool)
        masks[:, : image.shape[0], : image.shape[1]] = target.masks
        target = replace(target, masks=masks)
    return canvas, target


def _joined(targets: Sequence[Target]) -> Target:
    """The objects of all, in one picture of the first one's id."""
    values = {"image_id": targets[0].image_id}
    for field in fields(Target):
        parts = [getattr(target, field.name) for target in targets]
        if any(isinstance(part, Tensor) for part in parts):
            values[field.name] = torch.cat(
                [
                    _absent(field.name, target) if part is None else part
                    for part, target in zip(parts, targets, strict=True)
                ]
            )
    return Target(**values)


def _absent(name: str, target: Target) -> Tensor:
    """What a flag that a target does not have stands for."""
    if name not in ("iscrowd", "difficult"):
        raise InputError(f"data.mixing: some pictures have {name} and some have none; read them all alike")
    return torch.zeros(len(target), dtype=torch.bool)


def _check(condition: bool, message: str) -> None:
    if not condition:
        raise InputError(f"data.mixing: {message}")


def _check_fraction(name: str, value: float) -> None:
    _check(0 <= value <= 1, f"{name} must lie in [0, 1], got {value}")
