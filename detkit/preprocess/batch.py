"""`Batch`, the input of a network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from detkit.boxes import at_least, clip_boxes
from detkit.geometry import Placement, Size, move_boxes
from detkit.structures import Detections
from detkit.structures.device_transfer import to_device

_LEAST_SIDE = 1e-2  # minimum side in pixels of a box after clipping, for images with a border


@dataclass(frozen=True, eq=False)
class Batch:
    """A batch of preprocessed images.

    Args:
        images: ``(B, 3, H, W)`` float32, normalized, padded at the right and the bottom.
        placements: the placement of each given image in `images`; empty if the given images are unknown.
    """

    images: Tensor
    placements: Sequence[Placement] = ()

    @property
    def padded_size(self) -> Size:
        """(height, width) of the whole batch."""
        return self.images.shape[-2], self.images.shape[-1]

    @property
    def sizes(self) -> list[Size]:
        """(height, width) of each image in `images` without padding."""
        return [placement.size for placement in self.placements]

    @property
    def given_sizes(self) -> list[Size]:
        """(height, width) of each image as it was given."""
        return [placement.given_size for placement in self.placements]

    @cached_property
    def padding(self) -> Tensor:
        """Which pixels are padding, bool ``(B, H, W)``; none if the given images are unknown."""
        images, (height, width), device = len(self.images), self.padded_size, self.images.device
        if all(size == (height, width) for size in self.sizes):
            return torch.zeros(images, height, width, dtype=torch.bool, device=device)
        y, x = torch.arange(height, device=device)[:, None], torch.arange(width, device=device)
        return torch.stack([(y >= image_height) | (x >= image_width) for image_height, image_width in self.sizes])

    def restore(self, detections: Sequence[Detections], cut: bool = True) -> list[Detections]:
        """`detections` per image in the frame of the network, moved into pixels of the images as given.

        Args:
            detections: one per image.
            cut: clip boxes to the image, and drop those in a border around it.
        """
        if not all(_has_boxes_alone(one) for one in detections):
            return [_restored(one, placement, cut) for one, placement in zip(detections, self.placements, strict=True)]
        back, counts = [placement.inverse() for placement in self.placements], [len(one) for one in detections]
        boxes = move_boxes(torch.cat([one.boxes for one in detections]), counts, back)
        if cut:
            boxes = _clipped(boxes, counts, self.given_sizes)
        moved = zip(detections, torch.split(boxes, counts), strict=True)
        restored = [replace(one, boxes=own) for one, own in moved]
        # Without a border, the heads have already dropped boxes that are too small after clipping.
        with_border = [placement.has_border for placement in self.placements]
        if not cut or not any(with_border):
            return restored
        is_large = torch.split(at_least(boxes, _LEAST_SIDE).cpu(), counts)  # waits for the device once
        return [
            one[to_device(torch.where(large)[0], boxes.device)] if has_border and not large.all() else one
            for one, large, has_border in zip(restored, is_large, with_border, strict=True)
        ]


def _has_boxes_alone(detections: Detections) -> bool:
    """Whether nothing but the boxes moves with the image."""
    return detections.masks is None and detections.keypoints is None and type(detections) is Detections


def _clipped(boxes: Tensor, counts: Sequence[int], sizes: Sequence[Size]) -> Tensor:
    """`boxes` of several images, `counts` of each, clipped to their images of `sizes`."""
    if len(set(sizes)) == 1:
        return clip_boxes(boxes, sizes[0])
    limits = np.array([(width, height, width, height) for height, width in sizes]).repeat(counts, axis=0)
    return boxes.clamp(min=0).minimum(to_device(torch.from_numpy(limits).to(boxes.dtype), boxes.device))


def _restored(detections: Detections, placement: Placement, cut: bool) -> Detections:
    back = placement.inverse()
    restored = detections.moved(back)
    if not cut:
        return restored
    restored = replace(restored, boxes=back.clip(restored.boxes))
    # Without a border, the heads have already dropped boxes that are too small after clipping.
    return restored[at_least(restored.boxes, _LEAST_SIDE)] if placement.has_border else restored
