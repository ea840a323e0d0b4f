"""`Batch`, the input of a network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from detkit.boxes import at_least, clip_boxes
from detkit.geometry import Placement, Size, move_boxes, resample, rows_alike
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
        is_large: list[bool] = at_least(boxes, _LEAST_SIDE).tolist()  # waits for the device once
        kept = np.array(is_large, dtype=bool) | ~np.repeat(with_border, counts)
        return restored if kept.all() else _selected(restored, kept)

    def restore_maps(self, maps: Tensor, margin: int = 0) -> list[Tensor]:
        """Maps of numbers of the batch, such as logits, at the size of the images as given: bilinear.

        Args:
            maps: ``(B, C, H - 2 margin, W - 2 margin)``, in the frame of the network.
            margin: pixels of that frame that the maps lack on each side.

        Returns:
            ``(C, H, W)`` float for each given image. Pixels that the network does not see have the nearest value.
        """
        restored: list[Tensor | None] = [None] * len(maps)
        for rows, moved in self.restored_groups(maps, margin):
            for row, one in zip(rows, moved, strict=True):
                restored[row] = one
        return [one for one in restored if one is not None]

    def restored_groups(self, maps: Tensor, margin: int = 0) -> Iterator[tuple[list[int], Tensor]]:
        """As `restore_maps`, group by group of the images of one placement, since all may not fit into memory at once.

        Yields:
            The rows of the images, and their maps ``(n, C, H, W)``.
        """
        for rows in rows_alike(self.placements):
            back = _without_margin(self.placements[rows[0]], margin).inverse()
            height, width = back.given_size
            every = len(rows) == len(maps)  # or else rows of the batch are copied
            own = maps if every else maps.index_select(0, to_device(torch.tensor(rows), maps.device))
            yield rows, resample(own[..., :height, :width], back)


def _without_margin(placement: Placement, margin: int) -> Placement:
    """The placement in the frame that a network without padding leaves."""
    if margin == 0:
        return placement
    (height, width), shift = placement.size, ((1.0, 0.0, -float(margin)), (0.0, 1.0, -float(margin)))
    return placement.then(Placement(shift, (height - 2 * margin, width - 2 * margin), placement.size))


def _has_boxes_alone(detections: Detections) -> bool:
    """Whether nothing but the boxes moves with the image."""
    return detections.masks is None and detections.keypoints is None and type(detections) is Detections


def _selected(detections: Sequence[Detections], kept: np.ndarray) -> list[Detections]:
    """Those of all `detections` that are `kept`, bool of the boxes of all images; they have boxes alone."""
    images = np.arange(len(detections)).repeat([len(one) for one in detections])
    counts = np.bincount(images[kept], minlength=len(detections)).tolist()
    rows = to_device(torch.from_numpy(np.flatnonzero(kept)), detections[0].boxes.device)
    fields = (torch.cat([getattr(one, name) for one in detections])[rows] for name in ("boxes", "scores", "labels"))
    return [Detections(*own) for own in zip(*(torch.split(field, counts) for field in fields), strict=True)]


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
