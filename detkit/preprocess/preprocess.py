"""`Preprocess`, the base class of preprocessing: places an image, resamples its pixels, and makes batches."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from detkit.geometry import Placement, Size
from detkit.preprocess.batch import Batch
from detkit.structures import Detections, Target
from detkit.structures.kind import to_device

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class Preprocess(nn.Module):
    """Makes a batch of images of any size.

    A subclass defines where an image lies in the frame of the network, `place`, and resamples its pixels, `pixels`.

    Args:
        mean: of each RGB channel, in [0, 1].
        std: of each RGB channel.
        divisor: the padded height and width of a batch are multiples of this.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, mean: Sequence[float] = IMAGENET_MEAN, std: Sequence[float] = IMAGENET_STD, divisor: int = 1
    ) -> None:
        super().__init__()
        self.divisor = divisor
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1), persistent=False)

    def place(self, size: Size) -> Placement:
        """The placement of an image of `size` (height, width) in the frame of the network."""
        raise NotImplementedError

    def pixels(self, image: Tensor, placement: Placement) -> Tensor:
        """The normalized pixels ``(3, *placement.size)`` of `image` ``(3, H, W)`` float in [0, 1], differentiable."""
        raise NotImplementedError

    def resize_to(self, side: int) -> Preprocess:
        """The same preprocessing for another input size: squares of `side` pixels where the shape is fixed, else images
        with a shorter side of `side` pixels."""
        raise NotImplementedError

    def changed(self, **settings: Any) -> Self:
        """A copy with other values of some attributes; the others are shared."""
        other = copy.copy(self)
        for named in ("_parameters", "_buffers", "_modules"):
            other.__dict__[named] = dict(self.__dict__[named])
        for name, value in settings.items():
            setattr(other, name, value)
        return other

    def forward(self, images: Sequence[Tensor]) -> Batch:
        """The batch of `images`, each ``(3, H, W)`` uint8 or float in [0, 1], on the device of this module.

        It is differentiable in images in float.
        """
        placements = [self.place((image.shape[-2], image.shape[-1])) for image in images]
        pixels = [
            self.pixels(self._to_float(image), placement) for image, placement in zip(images, placements, strict=True)
        ]
        return Batch(self._padded(pixels), placements)

    def targets(self, targets: Sequence[Target], batch: Batch) -> list[Target]:
        """`targets` in pixels of the images as given, moved into pixels of `batch` and to its device.

        Masks keep the pixels of the given images: heads crop them there, through the inverse placement.
        """
        return [
            target.moved_to_network(placement).to(batch.images.device)
            for target, placement in zip(targets, batch.placements, strict=True)
        ]

    def restore(self, detections: Sequence[Detections], batch: Batch, cut: bool = True) -> list[Detections]:
        """`detections` in pixels of `batch`, moved into pixels of the images as given; see `Batch.restore`."""
        return batch.restore(detections, cut)

    def _to_float(self, image: Tensor) -> Tensor:
        image = to_device(image, self.mean.device)
        return image.float() / 255 if image.dtype == torch.uint8 else image.float()

    def _normalized(self, image: Tensor) -> Tensor:
        return (image - self.mean) / self.std

    def _padded(self, images: Sequence[Tensor]) -> Tensor:
        height, width = (
            math.ceil(max(image.shape[axis] for image in images) / self.divisor) * self.divisor for axis in (1, 2)
        )
        if all(image.shape[-2:] == (height, width) for image in images):
            return torch.stack(list(images))
        batch = images[0].new_zeros(len(images), 3, height, width)
        for index, image in enumerate(images):
            batch[index, :, : image.shape[1], : image.shape[2]] = image
        return batch
