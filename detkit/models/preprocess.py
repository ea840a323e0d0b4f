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

from detkit.errors import InputError
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


class SmoothShortestEdge(ShortestEdge):
    """Resizes the shorter side as Pillow does, and so detectron2: fine detail is averaged where an image shrinks.

    Sizes are rounded to the nearest pixel. Arguments as of `ShortestEdge`.
    """

    def _resize(self, image: Tensor) -> Tensor:
        size = self._resized(image.shape[-2:])
        return F.interpolate(image[None], size=size, mode="bilinear", align_corners=False, antialias=True)[0]

    def _resized(self, size: Sequence[int]) -> Size:
        scale = min(self.min_size / min(size), self.max_size / max(size))
        return max(1, math.floor(size[0] * scale + 0.5)), max(1, math.floor(size[1] * scale + 0.5))


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


class Square(ShortestEdge):
    """Resizes images to a square whatever their aspect, as SSD does.

    `Stretch` does the same by darknet's interpolation, this by torch's and torchvision's.

    Args:
        size: side of the network's input in pixels.
        mean: of each RGB channel, in [0, 1].
        std: of each RGB channel.
    """

    def __init__(
        self, size: int = 300, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD
    ) -> None:
        super().__init__(mean=mean, std=std, divisor=1)
        self.size = size

    def _resized(self, size: Sequence[int]) -> Size:
        return self.size, self.size


class Letterbox(ShortestEdge):
    """Resizes images until they touch two sides of a fixed size, and centres them on gray, as darknet does.

    Boxes count the border as half of what is free on each side, also where an odd pixel lies on one of them: so does
    darknet.

    Args:
        size: (height, width) of the network's input.
        mean: of each RGB channel, in [0, 1].
        std: of each RGB channel.
    """

    def __init__(
        self,
        size: tuple[int, int] = (416, 416),
        mean: Sequence[float] = (0.0, 0.0, 0.0),
        std: Sequence[float] = (1.0, 1.0, 1.0),
    ) -> None:
        super().__init__(mean=mean, std=std)
        self.size = size

    def forward(self, images: Sequence[Tensor]) -> Batch:
        """The batch of `images`, each ``(3, H, W)`` uint8 or float in [0, 1]; the border counts as part of them."""
        batch = torch.full((len(images), 3, *self.size), 0.5, device=self.mean.device)
        for row, image in zip(batch, images, strict=True):
            image = image.to(batch.device, non_blocking=True)
            image = image.float() / 255 if image.dtype == torch.uint8 else image.float()
            height, width = self._resized(image.shape[-2:])
            top, left = (self.size[0] - height) // 2, (self.size[1] - width) // 2
            row[:, top : top + height, left : left + width] = corner_resize(image, (height, width))
        given_sizes = [tuple(image.shape[-2:]) for image in images]
        return Batch((batch - self.mean) / self.std, [self.size] * len(images), given_sizes)

    def targets(self, targets: Sequence[Target], batch: Batch) -> list[Target]:
        """`targets`, in pixels of the images as given, in pixels of `batch`."""
        moved = []
        for target, given in zip(targets, batch.given_sizes, strict=True):
            fitted = self._resized(given)
            moved.append(shifted(scaled(target.to(batch.images.device), given, fitted), self._border(fitted)))
        return moved

    def restore(self, detections: Sequence[Detections], batch: Batch) -> list[Detections]:
        """`detections` in pixels of `batch`, in pixels of the images as given."""
        restored = []
        for found, given in zip(detections, batch.given_sizes, strict=True):
            fitted = self._resized(given)
            left, top = self._border(fitted)
            restored.append(scaled(shifted(found, (-left, -top)), fitted, given))
        return restored

    def _resized(self, size: Sequence[int]) -> Size:
        # Compared in float32 and rounded down, as darknet does.
        height, width = self.size
        if np.float32(width) / np.float32(size[1]) < np.float32(height) / np.float32(size[0]):
            return max(1, size[0] * width // size[1]), width
        return height, max(1, size[1] * height // size[0])

    def _border(self, fitted: Size) -> tuple[float, float]:
        """Width of the border at the left and at the top."""
        return (self.size[1] - fitted[1]) / 2, (self.size[0] - fitted[0]) / 2


class Stretch(Letterbox):
    """Resizes images to a fixed size whatever their aspect, as the first YOLO does.

    Args:
        size: (height, width) of the network's input.
        mean: of each RGB channel, in [0, 1].
        std: of each RGB channel.
    """

    def _resized(self, size: Sequence[int]) -> Size:
        return self.size


class CenterCrop(ShortestEdge):
    """Resizes the shorter side to a fixed length and cuts out the centre, as classifiers of ImageNet are evaluated.

    An image that has the size of the crop already is taken as it is: what an augmentation has cropped is not cropped
    once more.

    Args:
        size: (height, width) of the network's input.
        shorter_side: length that the shorter side is resized to, at least the crop's longer side.
        mean: of each RGB channel, in [0, 1].
        std: of each RGB channel.

    Raises:
        InputError: the crop is larger than what it is cut from.
    """

    def __init__(
        self,
        size: tuple[int, int] = (224, 224),
        shorter_side: int = 256,
        mean: Sequence[float] = IMAGENET_MEAN,
        std: Sequence[float] = IMAGENET_STD,
    ) -> None:
        super().__init__(mean=mean, std=std)
        if not 1 <= min(size) <= max(size) <= shorter_side:
            raise InputError(f"CenterCrop: shorter_side is {shorter_side}, which must be at least the crop's {size}")
        self.size, self.shorter_side = tuple(size), shorter_side

    def forward(self, images: Sequence[Tensor]) -> Batch:
        """The centres of `images`, each ``(3, H, W)`` uint8 or float in [0, 1], on the device of this module."""
        cropped = torch.stack([self._crop(self._normalize(image)) for image in images])
        return Batch(cropped, [self.size] * len(images), [tuple(image.shape[-2:]) for image in images])

    def targets(self, targets: Sequence[Target], batch: Batch) -> list[Target]:
        """`targets`, in pixels of the images as given, in pixels of `batch`; boxes may reach out of the crop."""
        moved = []
        for target, given in zip(targets, batch.given_sizes, strict=True):
            left, top = self._corner(given)
            resized = scaled(target.to(batch.images.device), given, self._resized(given))
            moved.append(shifted(resized, (-left, -top)))
        return moved

    def restore(self, detections: Sequence[Detections], batch: Batch) -> list[Detections]:
        """`detections` in pixels of `batch`, in pixels of the images as given."""
        return [
            scaled(shifted(found, self._corner(given)), self._resized(given), given)
            for found, given in zip(detections, batch.given_sizes, strict=True)
        ]

    def _crop(self, image: Tensor) -> Tensor:
        given = image.shape[-2:]
        resized = self._resized(given)
        if resized != tuple(given):
            # Antialiased, as torchvision resizes for its published weights.
            image = F.interpolate(image[None], size=resized, mode="bilinear", antialias=True)[0]
        left, top = self._corner(given)
        return image[:, top : top + self.size[0], left : left + self.size[1]]

    def _resized(self, size: Sequence[int]) -> Size:
        if tuple(size) == self.size:
            return self.size
        return tuple(self.shorter_side * side // min(size) for side in size)

    def _corner(self, size: Sequence[int]) -> tuple[int, int]:
        """``(left, top)`` of the crop in the resized image; halves are rounded to even, as torchvision does."""
        height, width = self._resized(size)
        return round((width - self.size[1]) / 2), round((height - self.size[0]) / 2)


def corner_resize(image: Tensor, size: Size) -> Tensor:
    """`image` ``(C, H, W)`` in `size`, bilinear with corner pixels on corner pixels: darknet's ``resize_image``.

    Darknet adds nothing to the last row from below, so where rounding puts that row a hair above the image's last one
    it is dark; networks of the world were trained so, and this does the same.
    """
    height, width = image.shape[-2:]
    first, share = _positions(width, size[1], image)
    # The last column alone is taken as it is.
    first[-1], share[-1] = width - 1, 0
    image = (1 - share) * image[:, :, first] + share * image[:, :, (first + 1).clamp(max=width - 1)]
    first, share = _positions(height, size[0], image)
    below = share[:, None].clone()
    below[-1] = 0
    return (1 - share[:, None]) * image[:, first] + below * image[:, (first + 1).clamp(max=height - 1)]


def _positions(length: int, new_length: int, image: Tensor) -> tuple[Tensor, Tensor]:
    """Of each new pixel the old one before it, and its distance from that one."""
    step = np.float32(length - 1) / np.float32(max(new_length - 1, 1))
    positions = np.arange(new_length, dtype=np.float32) * step
    first = positions.astype(np.int64)
    share = torch.from_numpy(positions - first.astype(np.float32)).to(image.device, non_blocking=True)
    return torch.from_numpy(first).to(image.device, non_blocking=True), share


def shifted(objects: Objects, offset: tuple[float, float]) -> Objects:
    """Boxes and keypoints of `objects`, moved by `offset` (x, y)."""
    if offset == (0, 0):
        return objects
    offset = objects.boxes.new_tensor(offset)
    keypoints = objects.keypoints
    if keypoints is not None:
        keypoints = torch.cat((keypoints[..., :2] + offset, keypoints[..., 2:]), dim=-1)
    return replace(objects, boxes=objects.boxes + offset.repeat(2), keypoints=keypoints)


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
