"""`Preprocess`, the base class of preprocessing: places an image, resamples its pixels, and makes batches."""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any, Self

import torch
from torch import Tensor, nn

from detkit.geometry import Placement, Size, rows_alike
from detkit.object_config import Described
from detkit.preprocess.batch import Batch
from detkit.structures import Detections, Target
from detkit.structures.device_transfer import stacked_on, to_device

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

Pixels = Callable[[Any, Tensor, Placement], Tensor]


def takes_batches(pixels: Pixels) -> Pixels:
    """Marks a `Preprocess.pixels` that takes images of one size and placement at once, ``(..., 3, H, W)``."""
    pixels.takes_batches = True  # type: ignore[attr-defined]
    return pixels


class Preprocess(Described, nn.Module):
    """Makes a batch of images of any size.

    A subclass defines where an image lies in the frame of the network, `place`, and resamples its pixels, `pixels`: of
    one image, or, marked with `takes_batches`, of all images of one size.

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

    @property
    def fixed_size(self) -> Size | None:
        """(height, width) of every batch; None where it depends on the images, which are then padded to one size."""
        return None

    @property
    def mirrors_border(self) -> bool:
        """Whether all pixels around an image are its mirror image, not of one color."""
        return False

    def facts(self) -> dict[str, Any]:
        """The kind of this preprocessing and its numbers as plain values, for programs without detkit.

        They describe pixels in [0, 1], not normalized yet: padding then has the color `pad_value`, the mean.
        """
        return {
            "kind": type(self).__name__,
            "size": self.fixed_size,
            "divisor": self.divisor,
            "pad_value": self.mean.flatten().tolist(),
        }

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
        kinds = [(one.shape, one.dtype, one.device, place) for one, place in zip(images, placements, strict=True)]
        made = [(group, self._pixels_of(images, group, placements[group[0]])) for group in rows_alike(kinds)]
        return Batch(self._padded(made, len(images)), placements)

    def targets(self, targets: Sequence[Target], batch: Batch) -> list[Target]:
        """`targets` in pixels of the images as given, moved into pixels of `batch` and to its device.

        Masks keep the pixels of the given images: heads crop them there, through the inverse placement.
        """
        if len(targets) != len(batch.placements):
            raise ValueError(f"{len(targets)} targets for {len(batch.placements)} images")
        moved = list(targets)
        for target_class in {type(target): None for target in targets}:
            own = [index for index, target in enumerate(targets) if type(target) is target_class]
            given, placements = [targets[index] for index in own], [batch.placements[index] for index in own]
            results = target_class.batch_to_network(given, placements, batch.images.device)
            for index, target in zip(own, results, strict=True):
                moved[index] = target
        return moved

    def restore(self, detections: Sequence[Detections], batch: Batch, cut: bool = True) -> list[Detections]:
        """`detections` in pixels of `batch`, moved into pixels of the images as given; see `Batch.restore`."""
        return batch.restore(detections, cut)

    def _pixels_of(self, images: Sequence[Tensor], group: Sequence[int], placement: Placement) -> Tensor:
        """The pixels ``(n, 3, *placement.size)`` of the images at the indices `group`, which have one size."""
        if getattr(self.pixels, "takes_batches", False):
            stacked = stacked_on([images[index] for index in group], self.mean.device)
            return self.pixels(self._in_float(stacked), placement)
        moved = [self._in_float(to_device(images[index], self.mean.device)) for index in group]
        return torch.stack([self.pixels(image, placement) for image in moved])

    def _in_float(self, images: Tensor) -> Tensor:
        """`images` in [0, 1], in float32; in float64 for a network in float64."""
        pixels = images / 255 if images.dtype == torch.uint8 else images
        return pixels.double() if self.mean.dtype == torch.float64 else pixels.float()

    def _normalized(self, image: Tensor) -> Tensor:
        # Not one multiply-add: it rounds otherwise, which is enough to change the gradients of random networks.
        return (image - self.mean).div_(self.std)

    def _padded(self, groups: Sequence[tuple[Sequence[int], Tensor]], count: int) -> Tensor:
        """The batch of `count` images from the indices and the pixels of those of each size."""
        height, width = (
            math.ceil(max(pixels.shape[axis] for _, pixels in groups) / self.divisor) * self.divisor for axis in (2, 3)
        )
        first = groups[0][1]
        if len(groups) == 1 and first.shape[-2:] == (height, width):
            return first
        batch = first.new_zeros(count, 3, height, width)
        for indices, pixels in groups:
            begin, end = indices[0], indices[-1] + 1
            corner = batch[:, :, : pixels.shape[2], : pixels.shape[3]]
            if end - begin == len(indices):
                corner[begin:end] = pixels
            else:
                corner.index_copy_(0, to_device(torch.tensor(indices), batch.device), pixels)
        return batch
