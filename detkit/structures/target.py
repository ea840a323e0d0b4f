"""The ground truth of one image."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self

import torch
from torch import Tensor

from detkit.ops import RunLengths
from detkit.structures.fields import Fields
from detkit.structures.image_fields import Camera, ClassOfImage, Identity, LabelMap, RegionBoxes
from detkit.structures.kind import to_device
from detkit.structures.object_fields import Areas, Boxes, Keypoints, Masks, Rows


@dataclass(frozen=True, eq=False)
class Target(Fields):
    """The ground truth of one image. Every field may be None: it is not annotated and does not contribute to losses.

    Args:
        boxes: ``(N, 4)`` float32, ``x1 y1 x2 y2`` in pixels.
        labels: ``(N,)`` int64 in ``0..K-1``.
        masks: ``(N, H, W)`` bool at the size of the image, or the same as `detkit.ops.RunLengths`.
        keypoints: ``(N, J, 3)`` float32, ``x y visibility`` as COCO: 0 absent, 1 hidden, 2 visible.
        iscrowd: ``(N,)`` bool. A crowd or ignore region: used neither as object nor as background.
        area: ``(N,)`` float32 in square pixels, as annotated.
        difficult: ``(N,)`` bool (PASCAL VOC).
        image_id: the image's id in its data set.
        image_label: the class of the image as a whole, in ``0..K-1``.
        label_map: ``(H, W)`` uint8 at the size of the image, the class of each pixel, 255 where it has none; int16 and
            -1 where there are more than 254 classes.
        camera: ``(3, 3)`` float32, the intrinsic matrix, in pixels.
        proposals: ``(P, 4)`` float32, regions that may be objects, best first.

    Raises:
        TypeError, ValueError: a field has the wrong dtype or shape; the message names it.
    """

    boxes: Annotated[Tensor | None, Boxes()] = None
    labels: Annotated[Tensor | None, Rows(torch.int64)] = None
    masks: Annotated[Tensor | RunLengths | None, Masks()] = None
    keypoints: Annotated[Tensor | None, Keypoints()] = None
    iscrowd: Annotated[Tensor | None, Rows(torch.bool, absent=False)] = None
    area: Annotated[Tensor | None, Areas()] = None
    difficult: Annotated[Tensor | None, Rows(torch.bool, absent=False)] = None
    image_id: Annotated[Any, Identity()] = None
    image_label: Annotated[int | None, ClassOfImage()] = None
    label_map: Annotated[Tensor | None, LabelMap()] = None
    camera: Annotated[Tensor | None, Camera()] = None
    proposals: Annotated[Tensor | None, RegionBoxes()] = None

    @classmethod
    def empty(cls, image_id: Any = None, image_label: int | None = None) -> Target:
        """An image without objects."""
        return cls(torch.zeros(0, 4), torch.zeros(0, dtype=torch.int64), image_id=image_id, image_label=image_label)

    def objects(self) -> Self:
        """The target without its crowd and ignore regions; computed once."""
        return self if self._split[0] is None else self._split[0]

    def ignored_boxes(self) -> Tensor:
        """The boxes ``(M, 4)`` of the crowd and ignore regions; none where boxes are not annotated."""
        return self._split[1]

    def to(self, device: torch.device | str) -> Self:
        """A copy with every tensor on `device`. Crowds are split off before, while their flags are on the CPU: on a GPU
        that would synchronize."""
        moved = super().to(device)
        if self.iscrowd is not None and self.iscrowd.device.type == "cpu":
            objects, ignored = self._split
            split = None if objects is None else objects.to(device), self.kinds()["boxes"].to(ignored, device)
            vars(moved)["_split"] = split
        return moved

    @functools.cached_property
    def _split(self) -> tuple[Self | None, Tensor]:
        """The target of the objects alone, None if there are no crowds, and the boxes of the crowds."""
        return self._split_by([] if self.iscrowd is None else self.iscrowd.tolist())

    def _split_by(self, flags: list[bool]) -> tuple[Self | None, Tensor]:
        """As `_split`, with the flags of the crowds known to the host."""
        device = None if self.iscrowd is None else self.iscrowd.device
        no_boxes = torch.zeros(0, 4, device=device) if self.boxes is None else self.boxes[:0]
        if device is None or not any(flags):
            return None, no_boxes
        crowds, others = (
            to_device(torch.tensor([row for row, flag in enumerate(flags) if flag is kind], dtype=torch.int64), device)
            for kind in (True, False)
        )
        objects = self[others]
        vars(objects)["_split"] = None, no_boxes
        return objects, no_boxes if self.boxes is None else self.boxes[crowds]


def split_crowds(targets: Sequence[Target]) -> None:
    """Split the crowds off the objects of all `targets`, so that `Target.objects` waits for no device: it waits once
    here, for the flags that are not on the CPU."""
    on_device = [
        target
        for target in targets
        if "_split" not in vars(target) and target.iscrowd is not None and target.iscrowd.device.type != "cpu"
    ]
    if not on_device:
        return
    flags = torch.cat([target.iscrowd for target in on_device if target.iscrowd is not None]).tolist()
    for target in on_device:
        count = 0 if target.iscrowd is None else len(target.iscrowd)
        vars(target)["_split"] = target._split_by(flags[:count])
        flags = flags[count:]
