"""`PointClouds`: the points of several objects, packed into one tensor."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.structures.device_transfer import to_device
from detkit.structures.meshes.object_rows import (
    ObjectIndex,
    chosen_objects,
    chosen_rows,
    first_row,
    host_object_index,
    part_bounds,
)


class PointClouds:
    """The points of M objects, which may have any number of points, none included.

    Args:
        points: per object ``(P, 3)`` floats of one dtype and device.

    Attributes:
        points: ``(P, 3)``, those of all objects, one object after the other.
        counts: ``(M,)`` int64 on the CPU, the points of each object.

    Raises:
        InputError: a shape, dtype or device is wrong, or a coordinate is NaN or infinite. The check of the values waits
            for the device; `with_points` has none.
    """

    points: Tensor
    counts: Tensor

    def __init__(self, points: Sequence[Tensor]) -> None:
        for number, own in enumerate(points):
            if own.ndim != 2 or own.shape[1] != 3 or not own.is_floating_point():
                raise InputError(f"points {number} must be (P, 3) floats, not {tuple(own.shape)} {own.dtype}")
            if own.dtype != points[0].dtype or own.device != points[0].device:
                raise InputError(
                    f"points {number} are {own.dtype} on {own.device}, those of object 0 {points[0].dtype} on "
                    f"{points[0].device}; bring all to one dtype and device"
                )
        self.points = torch.cat(list(points)) if len(points) else torch.zeros(0, 3)
        self.counts = torch.tensor([len(own) for own in points], dtype=torch.int64)
        wrong = ~self.points.isfinite().all(dim=1)
        if bool(wrong.any()):
            number, row = first_row(wrong, self.counts)
            raise InputError(f"points {number}: point {row} has a coordinate that is NaN or infinite; remove it")

    @classmethod
    def of(cls, points: Tensor, counts: Tensor) -> PointClouds:
        """Clouds of packed ``(P, 3)`` points and the number ``(M,)`` of each object's, which are not checked."""
        clouds = cls.__new__(cls)
        clouds.points, clouds.counts = points, counts
        return clouds

    @classmethod
    def cat(cls, parts: Sequence[PointClouds]) -> PointClouds:
        """The objects of all `parts`, one after the other; those of one dtype and device.

        Raises:
            InputError: they differ in dtype or device.
        """
        if not parts:
            return cls([])
        kinds = {(part.points.dtype, part.points.device) for part in parts}
        if len(kinds) > 1:
            listed = ", ".join(sorted(f"{dtype} on {device}" for dtype, device in kinds))
            raise InputError(f"points of {listed} cannot be concatenated; bring them to one dtype and device with `to`")
        return cls.of(torch.cat([part.points for part in parts]), torch.cat([part.counts for part in parts]))

    @cached_property
    def objects(self) -> Tensor:
        """``(P,)`` int64, the object of each point."""
        return to_device(host_object_index(self.counts), self.points.device)

    def __len__(self) -> int:
        return len(self.counts)

    def __getitem__(self, index: ObjectIndex) -> PointClouds:
        """The chosen objects: by number, slice, ``(M,)`` mask or numbers; one number gives the points of one object.

        An index on a GPU is fetched from it.

        Raises:
            IndexError: there is no such object, or a mask has another length.
        """
        objects = chosen_objects(index, len(self))
        return PointClouds.of(chosen_rows(self.points, self.counts, objects), self.counts[objects])

    def split(self, counts: Sequence[int]) -> list[PointClouds]:
        """Consecutive parts with so many objects each, such as those of the images of a batch; their points are
        views."""
        parts = torch.split(self.points, np.diff(part_bounds(self.counts, counts)).tolist())
        sizes = torch.split(self.counts, list(counts))
        return [PointClouds.of(points, own) for points, own in zip(parts, sizes, strict=True)]

    def points_list(self) -> list[Tensor]:
        """Per object ``(P, 3)``, views of the packed points."""
        return list(torch.split(self.points, self.counts.tolist()))

    def with_points(self, points: Tensor) -> PointClouds:
        """Other packed ``(P, 3)`` points, as many of each object.

        Raises:
            InputError: the shape differs from that of the points.
        """
        if points.shape != self.points.shape:
            shapes = f"{tuple(points.shape)}, those of the objects {tuple(self.points.shape)}"
            raise InputError(f"points: the new ones are {shapes}; give one row per point")
        return PointClouds.of(points, self.counts)

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> PointClouds:
        """The points on `device`, in `dtype`; None: as they are."""
        there = self.points.device if device is None else device
        return PointClouds.of(to_device(self.points, there).to(dtype or self.points.dtype), self.counts)

    def __repr__(self) -> str:
        """The number of objects and points, such as ``PointClouds(2 objects, 50 points)``."""
        return f"PointClouds({len(self)} objects, {len(self.points)} points)"
