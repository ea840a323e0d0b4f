"""The targets of a mask head: the mask of each region's object, cropped to the region.

R  regions of a batch     M  cells along a side of a mask     N  objects of an image
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from detkit.geometry import Placement, move_boxes, rows_alike
from detkit.ops import RunLengths, rle_to_masks, roi_align
from detkit.structures import Target
from detkit.structures.device_transfer import to_device

Masks = Tensor | RunLengths

# Ground truth masks are unpacked in parts of at most this many pixels, to limit memory.
_PIXELS_AT_ONCE = 2**24


def crop_masks(target: Target, boxes: Tensor, objects: Tensor, placement: Placement, resolution: int) -> Tensor:
    """Mask targets of one image; see `crop_batch_masks`.

    Args:
        target: with masks, in the pixels of the image as it was given.
        boxes: of the regions ``(R, 4)``, in pixels of the network's input.
        objects: ``(R,)`` int64 among ``target.objects()``, the object of each region.
        placement: of the image in the network's input.
        resolution: cells along each side of a region.

    Returns:
        float32 ``(R, resolution, resolution)``, 0 or 1, on the device of the regions.
    """
    return crop_batch_masks([target], boxes, objects, [len(boxes)], [placement], resolution)


def crop_batch_masks(
    targets: Sequence[Target],
    boxes: Tensor,
    objects: Tensor,
    counts: Sequence[int],
    placements: Sequence[Placement],
    resolution: int,
) -> Tensor:
    """Mask targets: the mask of each region's object, cropped to the region; 1 where it covers at least half a cell.

    The masks of all images of one size are cropped at once, but for the memory in parts. This waits for the device
    once, for `objects`.

    Args:
        targets: of all images, in the pixels of the images as they were given; those that have regions have masks.
        boxes: of the regions ``(R, 4)``, ordered by image, in pixels of the network's input.
        objects: ``(R,)`` int64, the row of each region's object among those of the batch.
        counts: the number of regions of each image.
        placements: of the images in the network's input.
        resolution: cells along each side of a region.

    Returns:
        float32 ``(R, resolution, resolution)``, 0 or 1, on the device of the regions.
    """
    boxes = move_boxes(boxes, counts, [placement.inverse() for placement in placements])
    crops = boxes.new_zeros(len(boxes), resolution, resolution)
    parts = list(_parts(targets, objects.cpu().numpy(), counts))
    if not parts:
        return crops
    numbers = np.concatenate([np.stack((part.regions, part.mask_of_region)) for part in parts], axis=1)
    regions, images = to_device(torch.from_numpy(numbers), boxes.device)
    rois = torch.cat((images[:, None].to(boxes.dtype), boxes[regions]), dim=1)
    covered = [
        roi_align(part.pixels(rois), own, resolution, 1.0, 0, aligned=True)[:, 0]
        for part, own in zip(parts, torch.split(rois, [len(part.regions) for part in parts]), strict=True)
    ]
    crops[regions] = (torch.cat(covered) >= 0.5).to(boxes.dtype)
    return crops


class _Part(NamedTuple):
    """Masks of one form and size that are unpacked at once, and their regions.

    Args:
        masks: of several images.
        needed: which of them.
        regions: the rows of the regions.
        mask_of_region: the position of the mask of each among the needed ones.
    """

    masks: Masks
    needed: np.ndarray
    regions: np.ndarray
    mask_of_region: np.ndarray

    def pixels(self, like: Tensor) -> Tensor:
        """The needed masks ``(N, 1, H, W)``, in the type and on the device of `like`."""
        return rle_to_masks(_selected(self.masks, self.needed), like.device).to(like.dtype)[:, None]


def _parts(targets: Sequence[Target], objects: np.ndarray, counts: Sequence[int]) -> Iterator[_Part]:
    """The masks of the regions, `counts` of each image, whose objects are the rows `objects`."""
    with_regions = [image for image, count in enumerate(counts) if count]
    regions = np.split(np.arange(len(objects)), np.cumsum(counts)[:-1])
    first_rows = _first_rows(targets)
    for images in _images_by_size(targets, with_regions):
        rows = np.concatenate([regions[image] for image in images])
        masks = _joined([_object_masks(targets[image]) for image in images])
        own = [np.arange(len(_object_masks(targets[image]))) + first_rows[image] for image in images]
        positions = np.searchsorted(np.concatenate(own), objects[rows])
        count = max(1, _PIXELS_AT_ONCE // max(masks.shape[1] * masks.shape[2], 1))
        needed, mask_of_region = np.unique(positions, return_inverse=True)
        for start in range(0, len(needed), count):
            members = np.flatnonzero((mask_of_region >= start) & (mask_of_region < start + count))
            yield _Part(masks, needed[start : start + count], rows[members], mask_of_region[members] - start)


def _object_masks(target: Target) -> Masks:
    masks = target.objects().masks
    assert masks is not None, "the target has no masks"
    return masks


def _first_rows(targets: Sequence[Target]) -> list[int]:
    """The row of each image's first object among those of the batch."""
    counts = [0 if target.boxes is None else len(target.objects()) for target in targets]
    return [end - count for count, end in zip(counts, accumulate(counts), strict=True)]


def _images_by_size(targets: Sequence[Target], images: Sequence[int]) -> list[list[int]]:
    """The `images` whose masks have one form and size, together."""
    masks = [_object_masks(targets[image]) for image in images]
    groups = rows_alike((type(one), one.shape[1], one.shape[2]) for one in masks)
    return [[images[row] for row in rows] for rows in groups]


def _joined(masks: list[Any]) -> Masks:
    """The masks of several images of one form and size."""
    if len(masks) == 1 or isinstance(masks[0], Tensor):
        joined: Masks = masks[0] if len(masks) == 1 else torch.cat(masks)
        return joined
    return RunLengths.concatenated(masks, masks[0].height, masks[0].width)


def _selected(masks: Masks, needed: np.ndarray) -> Masks:
    """The masks at these indices, without a copy if it is all of them."""
    if len(needed) == len(masks):
        return masks
    index = torch.from_numpy(needed)
    return masks[to_device(index, masks.device) if isinstance(masks, Tensor) else index]
