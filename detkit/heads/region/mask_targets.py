"""The targets of a mask head: the mask of each region's object, cropped to the region.

R  regions of a batch     M  cells along a side of a mask     N  objects of an image
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from itertools import accumulate
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detkit.geometry import Placement, Size, move_boxes
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
    crops = boxes.new_zeros(len(boxes), resolution, resolution)
    boxes = move_boxes(boxes, counts, [placement.inverse() for placement in placements])
    objects_of_regions = objects.cpu().numpy()
    with_regions = [image for image, count in enumerate(counts) if count]
    regions = np.split(np.arange(len(boxes)), np.cumsum(counts)[:-1])
    first_rows = _first_rows(targets)
    for images in _images_by_size(targets, with_regions):
        rows = np.concatenate([regions[image] for image in images])
        joined = _joined([_object_masks(targets[image]) for image in images])
        own = [np.arange(len(_object_masks(targets[image]))) + first_rows[image] for image in images]
        positions = np.searchsorted(np.concatenate(own), objects_of_regions[rows])
        for part, indices in _crop(joined, boxes, rows, positions, resolution):
            crops[indices] = part
    return crops


def _crop(
    masks: Masks, boxes: Tensor, rows: np.ndarray, positions: np.ndarray, resolution: int
) -> Iterator[tuple[Tensor, Tensor]]:
    """Parts of the crops of the regions `rows`, whose masks are at these `positions` among `masks`."""
    height, width = masks.shape[1:]
    count = max(1, _PIXELS_AT_ONCE // max(height * width, 1))
    needed, position_of_region = np.unique(positions, return_inverse=True)
    for start in range(0, len(needed), count):
        members = np.flatnonzero((position_of_region >= start) & (position_of_region < start + count))
        pixels = rle_to_masks(_selected(masks, needed[start : start + count]), boxes.device)
        numbers = np.stack((rows[members], position_of_region[members] - start))
        indices, images = to_device(torch.from_numpy(numbers), boxes.device)
        rois = torch.cat((images[:, None].to(boxes.dtype), boxes[indices]), dim=1)
        cropped = roi_align(pixels.to(boxes.dtype)[:, None], rois, resolution, 1.0, 0, aligned=True)[:, 0]
        yield (cropped >= 0.5).to(boxes.dtype), indices


def _object_masks(target: Target) -> Masks:
    masks = target.objects().masks
    assert masks is not None, "the target has no masks"
    return masks


def _first_rows(targets: Sequence[Target]) -> list[int]:
    """The row of each image's first object among those of the batch."""
    counts = [0 if target.boxes is None else len(target.objects()) for target in targets]
    return [end - count for count, end in zip(counts, accumulate(counts), strict=True)]


def _images_by_size(targets: Sequence[Target], images: Sequence[int]) -> Iterable[list[int]]:
    """The `images` whose masks have one form and size, together."""
    groups: dict[tuple[type, Size], list[int]] = {}
    for image in images:
        masks = _object_masks(targets[image])
        groups.setdefault((type(masks), (masks.shape[1], masks.shape[2])), []).append(image)
    return groups.values()


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
