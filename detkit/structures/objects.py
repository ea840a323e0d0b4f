"""The boxes of a batch in one tensor: `Objects`, and the crowd and ignore regions beside them.

B  images     T  boxes of a batch

How many boxes each image has is known to the host, so that nothing here waits for a device.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import Self

import numpy as np
import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.structures.device_transfer import to_device
from detkit.structures.target import Target, split_crowds


@dataclass(frozen=True, eq=False)
class ImageBoxes:
    """The boxes of a batch, ordered by image.

    Args:
        boxes: ``(T, 4)``, in pixels.
        image_index: ``(T,)`` int64, the image of each, ascending.
        bounds: ``(B + 1,)`` int64, the row of the first box of each image, then T.
        counts: the number of boxes of each image.
    """

    boxes: Tensor
    image_index: Tensor
    bounds: Tensor
    counts: Sequence[int]

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def offsets(self) -> list[int]:
        """The row of the first box of each image."""
        return [0, *accumulate(self.counts)][:-1]

    @classmethod
    def of_images(cls, boxes: Sequence[Tensor | None], device: torch.device) -> Self:
        """The boxes ``(Ni, 4)`` of each image, None where it has none, on `device`."""
        counts = [0 if per_image is None else len(per_image) for per_image in boxes]
        images = np.arange(len(boxes)).repeat(counts)
        numbers = np.concatenate((images, [0], np.cumsum(counts, dtype=np.int64)))
        moved = to_device(torch.from_numpy(numbers), device)
        return cls(_together(boxes, torch.zeros(0, 4), device), moved[: len(images)], moved[len(images) :], counts)


@dataclass(frozen=True, eq=False)
class Objects:
    """The objects of a batch. Heads number an object by its row.

    Args:
        located: their boxes.
        labels: ``(T,)`` int64.
        crowds: the crowd and ignore regions, which are no objects; None where there are none.
        annotated: of each image, whether its boxes are annotated; one that is not teaches nothing.
    """

    located: ImageBoxes
    labels: Tensor
    crowds: ImageBoxes | None
    annotated: Sequence[bool]

    def __iter__(self) -> Iterator[Tensor]:
        """Unpacks as ``boxes, labels``."""
        return iter((self.boxes, self.labels))

    @property
    def boxes(self) -> Tensor:
        """The boxes ``(T, 4)``, in pixels."""
        return self.located.boxes

    @property
    def image_index(self) -> Tensor:
        """The image of each object, int64 ``(T,)``, ascending."""
        return self.located.image_index

    @property
    def bounds(self) -> Tensor:
        """The row of the first object of each image, then T: int64 ``(B + 1,)``."""
        return self.located.bounds

    @property
    def counts(self) -> Sequence[int]:
        """The number of objects of each image."""
        return self.located.counts

    @property
    def offsets(self) -> list[int]:
        """The row of the first object of each image."""
        return self.located.offsets

    @cached_property
    def unannotated(self) -> Tensor | None:
        """Which images have no annotated boxes, bool ``(B,)``; None where all have."""
        if all(self.annotated):
            return None
        return to_device(torch.tensor([not one for one in self.annotated]), self.labels.device)

    def annotated_images(self) -> int:
        """How many images have annotated boxes, at least 1; losses are means over these."""
        return max(1, sum(self.annotated))

    def target(self, image: int) -> Target:
        """The boxes and labels of one image, crowd and ignore regions last; nothing where they are not annotated."""
        if not self.annotated[image]:
            return Target()
        first, count = self.offsets[image], self.counts[image]
        boxes, labels = self.boxes[first : first + count], self.labels[first : first + count]
        if self.crowds is None or self.crowds.counts[image] == 0:
            return Target(boxes, labels)
        first, count = self.crowds.offsets[image], self.crowds.counts[image]
        iscrowd = torch.arange(len(boxes) + count, device=boxes.device) >= len(boxes)
        crowds = self.crowds.boxes[first : first + count]
        return Target(torch.cat((boxes, crowds)), torch.cat((labels, labels.new_zeros(count))), iscrowd=iscrowd)


def objects_of(targets: Sequence[Target], device: torch.device) -> Objects:
    """The objects of all images on `device`.

    Raises:
        InputError: a target has boxes without labels.
    """
    for target in targets:
        if target.boxes is not None and target.labels is None:
            raise InputError(f"the target of image id {target.image_id} has no boxes with labels")
    split_crowds(targets)
    annotated = [target.boxes is not None for target in targets]
    objects = [target.objects() for target in targets]
    return Objects(
        ImageBoxes.of_images([one.boxes for one in objects], device),
        _together([one.labels for one in objects], torch.zeros(0, dtype=torch.int64), device),
        crowds_of(targets, device),
        annotated,
    )


def crowds_of(targets: Sequence[Target], device: torch.device) -> ImageBoxes | None:
    """The crowd and ignore regions of all images on `device`; None where there are none."""
    crowds = [target.ignored_boxes() for target in targets]
    return ImageBoxes.of_images(crowds, device) if any(len(per_image) for per_image in crowds) else None


def _together(values: Sequence[Tensor | None], none: Tensor, device: torch.device) -> Tensor:
    """Those of all images on `device`, or `none`."""
    present = [per_image for per_image in values if per_image is not None]
    return to_device(torch.cat(present) if present else none, device)
