"""The ground truth of one image."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Self

import numpy as np
import torch
from torch import Tensor

from detkit.geometry import Placement
from detkit.ops import RunLengths
from detkit.structures.device_transfer import to_device
from detkit.structures.fields import Fields
from detkit.structures.image_fields import (
    Camera,
    ClassOfImage,
    Identity,
    LabelMap,
    PanopticIds,
    PixelWeights,
    RegionBoxes,
)
from detkit.structures.meshes import Meshes, PointClouds
from detkit.structures.meshes.mesh_fields import ObjectMeshes, ObjectPoints
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
        panoptic_map: ``(H, W)`` int32, the class and the instance of each pixel, ``label * 65536 + instance``, -1 where
            nothing is annotated. Stuff has the instance 0, and so have the crowds of things.
        pixel_weights: ``(H, W)`` float32 at the size of the image, factors of the losses of its pixels.
        camera: ``(3, 3)`` float32, the intrinsic matrix, in pixels: a point ``x`` is seen at ``(K x)[:2] / x[2]``.
        proposals: ``(P, 4)`` float32, regions that may be objects, best first.
        meshes: of N objects, float32, in the camera frame: x right, y down, z away from the camera, in the units of the
            data set. Faces are counterclockwise, seen from outside.
        voxels: the centers of the occupied cells of N objects, float32, in the camera frame, where meshes are not
            closed.

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
    panoptic_map: Annotated[Tensor | None, PanopticIds()] = None
    pixel_weights: Annotated[Tensor | None, PixelWeights()] = None
    camera: Annotated[Tensor | None, Camera()] = None
    proposals: Annotated[Tensor | None, RegionBoxes()] = None
    meshes: Annotated[Meshes | None, ObjectMeshes()] = None
    voxels: Annotated[PointClouds | None, ObjectPoints()] = None

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

    @functools.cached_property
    def crowd_rows(self) -> list[int]:
        """The rows of the crowd and ignore regions. Where the flags are on a device, this waits for it, but not where
        the target was moved there."""
        return [] if self.iscrowd is None else self.iscrowd.nonzero().flatten().tolist()

    def to(self, device: torch.device | str) -> Self:
        """A copy with every tensor on `device`. Crowds are split off before, while their flags are on the CPU: on a GPU
        that would synchronize."""
        moved = super().to(device)
        if self.iscrowd is not None and self.iscrowd.device.type == "cpu":
            objects, ignored = self._split
            split = None if objects is None else objects.to(device), self.kinds()["boxes"].to(ignored, device)
            vars(moved).update(_split=split, crowd_rows=self.crowd_rows)
        return moved

    @classmethod
    def batch_to_network(
        cls, batch: Sequence[Self], placements: Sequence[Placement], device: torch.device | str
    ) -> list[Self]:
        """See `Fields.batch_to_network`; as in `to`, crowds are split off before."""
        split_crowds(batch)
        crowded = [index for index, target in enumerate(batch) if vars(target).get("crowd_rows")]
        cls._split_together([batch[index] for index in crowded])
        objects = [batch[index].objects() for index in crowded]
        of_crowded = [placements[index] for index in crowded]
        moved = super().batch_to_network([*batch, *objects], [*placements, *of_crowded], device)
        batch_moved, objects_moved = moved[: len(batch)], moved[len(batch) :]
        ignored = [batch[index].ignored_boxes() for index in crowded]
        ignored_moved = cls.kinds()["boxes"].batch_to_network(ignored, of_crowded, device) if crowded else []
        for target, given in zip(batch_moved, batch, strict=True):
            if (rows := vars(given).get("crowd_rows")) is not None:
                vars(target)["crowd_rows"] = rows
        for target in objects_moved:
            vars(target)["crowd_rows"] = []
        for index, split in zip(crowded, zip(objects_moved, ignored_moved, strict=True), strict=True):
            vars(batch_moved[index])["_split"] = split
        return batch_moved

    @classmethod
    def _split_together(cls, crowded: Sequence[Self]) -> None:
        """Store the `_split` of targets with crowds, made of all at once where their tensors are on the CPU."""
        own = [one for one in crowded if "_split" not in vars(one) and one._is_on_cpu()]
        if len(own) < 2:
            return
        is_crowd = [set(one.crowd_rows) for one in own]
        objects = cls.batch_select(
            own,
            [[row for row in range(len(one)) if row not in crowds] for one, crowds in zip(own, is_crowd, strict=True)],
        )
        ignored = cls.kinds()["boxes"].batch_select([one.boxes for one in own], [one.crowd_rows for one in own])
        for one, pair in zip(own, zip(objects, ignored, strict=True), strict=True):
            vars(pair[0])["crowd_rows"] = []
            vars(one)["_split"] = pair

    def _is_on_cpu(self) -> bool:
        """Whether the flags of crowds and the boxes are on the CPU, and so the other tensors."""
        return all(one is not None and one.device.type == "cpu" for one in (self.iscrowd, self.boxes))

    @functools.cached_property
    def _split(self) -> tuple[Self | None, Tensor]:
        """The target of the objects alone, None if there are no crowds, and the boxes of the crowds."""
        if not self.crowd_rows:
            return None, self._no_boxes()
        crowds = set(self.crowd_rows)
        objects = self[self._rows([row for row in range(len(self)) if row not in crowds])]
        vars(objects)["crowd_rows"] = []
        return objects, self._no_boxes() if self.boxes is None else self.boxes[self._rows(self.crowd_rows)]

    def _rows(self, rows: list[int]) -> Tensor:
        index = torch.tensor(rows, dtype=torch.int64)
        return index if self.iscrowd is None else to_device(index, self.iscrowd.device)

    def _no_boxes(self) -> Tensor:
        if self.boxes is not None:
            return self.boxes[:0]
        return torch.zeros(0, 4, device=None if self.iscrowd is None else self.iscrowd.device)


def split_crowds(batch: Sequence[Target]) -> None:
    """Store the `crowd_rows` of all targets, so that `Target.objects` waits for no device: it waits once here, for the
    flags that are not on the CPU."""
    unknown = [one for one in batch if one.iscrowd is not None and "crowd_rows" not in vars(one)]
    for device in {one.iscrowd.device for one in unknown if one.iscrowd is not None}:
        own = [(one, one.iscrowd) for one in unknown if one.iscrowd is not None and one.iscrowd.device == device]
        starts = np.cumsum([0, *(len(flags) for _, flags in own)])
        rows = np.array(torch.cat([flags for _, flags in own]).nonzero().flatten().tolist(), dtype=np.int64)
        for (one, _), begin, end in zip(own, starts[:-1], starts[1:], strict=True):
            vars(one)["crowd_rows"] = (rows[(rows >= begin) & (rows < end)] - begin).tolist()
