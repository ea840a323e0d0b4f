"""Copy-paste augmentation: objects of one image pasted onto another."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from detkit.data.transforms.mixing import (
    ImageAndTarget,
    Mixing,
    check,
    check_fraction,
    fit_boxes_to_masks,
    join_targets,
)
from detkit.data.transforms.transform_target import apply_placement, drop_invisible, map_fields
from detkit.errors import InputError
from detkit.geometry import Placement, Size
from detkit.ops import rle_to_masks
from detkit.structures import Target
from detkit.structures.kind import Mix


class CopyPaste(Mixing):
    """Objects of another image, cut out by their masks and pasted in front (Ghiasi et al., "Simple Copy-Paste is a
    Strong Data Augmentation Method for Instance Segmentation", 2021, section 3).

    The other image is scaled at random first. Covered objects lose that part of their masks, and their boxes
    shrink accordingly; those of which too little is left become ignore regions, and fully covered ones are dropped.
    Covered keypoints become hidden. Crowd regions are not pasted.

    Args:
        probability: how often an image gets objects of another.
        share: the probability of each object to be pasted.
        scale: smallest and largest factor by which the other image is scaled, relative to one that fits.
        min_visibility: the share of an object that must be left for it to stay an object.

    Raises:
        InputError: a value is out of range; when called, the data has no masks.
    """

    way: Mix | None = "pasted"
    reads = frozenset({"masks"})

    def __init__(
        self,
        probability: float = 0.5,
        share: float = 0.5,
        scale: tuple[float, float] = (0.5, 1.5),
        min_visibility: float = 0.25,
    ) -> None:
        for name, value in {"probability": probability, "share": share, "min_visibility": min_visibility}.items():
            check_fraction(f"CopyPaste.{name}", value)
        check(0.1 <= scale[0] <= scale[1] <= 10, f"CopyPaste.scale must be 0.1 <= low <= high <= 10, got {scale}")
        self.probability = probability
        self.share = share
        self.scale = scale
        self.min_visibility = min_visibility

    def __call__(
        self, sample: ImageAndTarget, draw: Callable[[], ImageAndTarget], random: np.random.Generator
    ) -> ImageAndTarget:
        """`sample` with objects of another one in front."""
        if random.random() >= self.probability:
            return sample
        image, target = sample
        other, objects = draw()
        if target.masks is None or objects.masks is None:
            raise InputError(
                "data.mixing: CopyPaste cuts objects out by their masks; read them with data.reads: [masks]"
            )
        objects = objects.objects()
        objects = objects[torch.from_numpy(random.random(len(objects)) < self.share)]
        other, objects = self._scale_and_place(other, objects, image.shape[:2], random)
        objects = fit_boxes_to_masks(objects.objects())
        pasted = _pixels(objects).any(dim=0)
        image = np.where(pasted.numpy()[..., None], other, image)
        targets = [_covered(target, pasted, self.min_visibility), _only_pasted_pixels(objects, pasted)]
        return image, join_targets(targets, "pasted")

    def _scale_and_place(
        self, image: np.ndarray, target: Target, size: Size, random: np.random.Generator
    ) -> ImageAndTarget:
        """The other image scaled, at a random location of one of `size`."""
        sides, new = np.array(image.shape[1::-1]), np.array(size[::-1])
        factor = (new / sides).min() * np.exp(random.uniform(*np.log(self.scale)))
        part = np.clip(np.round(new / factor), 1, sides).astype(int)
        scaled = np.clip(np.round(part * factor), 1, new).astype(int)
        x, y = random.integers(0, sides - part + 1).tolist()
        new_x, new_y = random.integers(0, new - scaled + 1).tolist()
        (width, height), (new_width, new_height) = part.tolist(), scaled.tolist()
        placement = Placement.part(
            image.shape[:2],
            (x, y, x + width, y + height),
            (new_x, new_y, new_x + new_width, new_y + new_height),
            size,
        )
        return apply_placement(placement, image, target, (), self.min_visibility)


def _pixels(target: Target) -> Tensor:
    if target.masks is None:
        raise ValueError("the target has no masks")
    return rle_to_masks(target.masks)


def _covered(target: Target, cover: Tensor, min_visibility: float) -> Target:
    """The objects behind a `cover` ``(H, W)`` bool."""
    masks = _pixels(target).numpy()
    full, rest = masks.sum(axis=(1, 2)), (masks & ~cover.numpy()).sum(axis=(1, 2))
    share = np.where(full > 0, rest / np.maximum(full, 1), 1.0)
    given = torch.from_numpy(share)
    values = map_fields(target, lambda _, kind, value: kind.cover(value, cover, given))
    return drop_invisible(target, values, rest < full, share, min_visibility)


def _only_pasted_pixels(objects: Target, pasted: Tensor) -> Target:
    """Pasted objects; the other pixels of their image are not annotated."""
    pixels = {name for name, kind in objects.kinds().items() if kind.per_pixel and getattr(objects, name) is not None}
    outside = torch.zeros(0, dtype=torch.float64)
    return replace(
        objects, **{name: objects.kinds()[name].cover(getattr(objects, name), ~pasted, outside) for name in pixels}
    )
