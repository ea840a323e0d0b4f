"""From images of any size to the batch a network sees, and back."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from detkit.structures import Detections, Target

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Size = tuple[int, int]
Objects = TypeVar("Objects", Target, Detections)


@dataclass(frozen=True)
class Batch:
    """Images as the network sees them.

    Args:
        images: ``(B, 3, H, W)`` float32, normalised, padded with zeros at the right and the bottom.
        sizes: (height, width) of each image in `images` without padding.
        given_sizes: (height, width) of each image as it was given.
    """

    images: Tensor
    sizes: list[Size]
    given_sizes: list[Size]

    @property
    def padded_size(self) -> Size:
        """(height, width) of the whole batch."""
        return self.images.shape[-2], self.images.shape[-1]


class ShortestEdge(nn.Module):
    """Resizes the shorter side to a fixed length, normalises, and pads the batch to a common size.

    Args:
        min_size: length of the shorter side in pixels.
        max_size: greatest length of the longer side; the shorter one then gets less than `min_size`.
        mean: of each RGB channel, in [0, 1].
        std: of each RGB channel.
        divisor: the padded height and width are multiples of this.
    """

    def __init__(
        self,
        min_size: int = 800,
        max_size: int = 1333,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
        divisor: int = 32,
    ) -> None:
        super().__init__()
        self.min_size, self.max_size, self.divisor = min_size, max_size, divisor
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def forward(self, images: Sequence[Tensor]) -> Batch:
        """The batch of `images`, each ``(3, H, W)`` uint8 or float in [0, 1], on the device of this module."""
        resized = [self._resize(self._normalize(image)) for image in images]
        return Batch(
            images=self._pad(resized),
            sizes=[tuple(image.shape[-2:]) for image in resized],
            given_sizes=[tuple(image.shape[-2:]) for image in images],
        )

    def targets(self, targets: Sequence[Target], batch: Batch) -> list[Target]:
        """`targets`, in pixels of the images as given, in pixels of `batch`."""
        return [
            scaled(target.to(batch.images.device), given, size)
            for target, given, size in zip(targets, batch.given_sizes, batch.sizes, strict=True)
        ]

    def restore(self, detections: Sequence[Detections], batch: Batch) -> list[Detections]:
        """`detections` in pixels of `batch`, in pixels of the images as given."""
        return [
            scaled(found, size, given)
            for found, given, size in zip(detections, batch.given_sizes, batch.sizes, strict=True)
        ]

    def _normalize(self, image: Tensor) -> Tensor:
        image = image.to(self.mean.device, non_blocking=True)
        image = image.float() / 255 if image.dtype == torch.uint8 else image.float()
        return (image - self.mean) / self.std

    def _resize(self, image: Tensor) -> Tensor:
        size = self._resized(image.shape[-2:])
        if size == tuple(image.shape[-2:]):
            return image
        return F.interpolate(image[None], size=size, mode="bilinear", align_corners=False)[0]

    def _resized(self, size: Sequence[int]) -> Size:
        # Rounded down, as torchvision does, so that its published weights see the same pixels.
        scale = min(self.min_size / min(size), self.max_size / max(size))
        return max(1, math.floor(size[0] * scale)), max(1, math.floor(size[1] * scale))

    def _pad(self, images: Sequence[Tensor]) -> Tensor:
        height, width = (
            math.ceil(max(image.shape[axis] for image in images) / self.divisor) * self.divisor for axis in (1, 2)
        )
        batch = images[0].new_zeros(len(images), 3, height, width)
        for row, image in zip(batch, images, strict=True):
            row[:, : image.shape[1], : image.shape[2]].copy_(image)
        return batch


class OriginalSize(ShortestEdge):
    """Leaves images at their size; normalises them and pads the batch to a common size.

    Args:
        mean: of each RGB channel, in [0, 1].
        std: of each RGB channel.
        divisor: the padded height and width are multiples of this.
    """

    def __init__(
        self, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD, divisor: int = 1
    ) -> None:
        super().__init__(mean=mean, std=std, divisor=divisor)

    def _resized(self, size: Sequence[int]) -> Size:
        return size[0], size[1]


def scaled(objects: Objects, size: Size, new_size: Size) -> Objects:
    """Boxes and keypoints of `objects` in an image of `size`, for the same image resized to `new_size`.

    Masks stay as they are: the head that learns or makes them knows their resolution.
    """
    if tuple(size) == tuple(new_size):
        return objects
    scale = _ratios(objects.boxes, size, new_size)
    keypoints = objects.keypoints
    if keypoints is not None:
        keypoints = torch.cat((keypoints[..., :2] * scale, keypoints[..., 2:]), dim=-1)
    return replace(objects, boxes=objects.boxes * scale.repeat(2), keypoints=keypoints)


def scaled_boxes(boxes: Tensor, size: Size, new_size: Size) -> Tensor:
    """`boxes` ``(N, 4)`` in an image of `size`, for the same image resized to `new_size`."""
    return boxes if tuple(size) == tuple(new_size) else boxes * _ratios(boxes, size, new_size).repeat(2)


def _ratios(boxes: Tensor, size: Size, new_size: Size) -> Tensor:
    height, width = (np.float32(new) / np.float32(old) for new, old in zip(new_size, size, strict=True))
    return boxes.new_tensor([width, height])
