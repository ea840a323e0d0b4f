"""Field kinds of what each object is in the camera frame: its mesh, or points of it; and what a box's frustum holds.

The camera frame has x to the right, y down and z away from the camera, in the units of the data set. Its objects do not
change when their image is resized or cropped, which moves the camera alone. They turn with the image, or are mirrored
with it, about the optical axis, see `geometry.camera_frames`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.geometry import Placement, camera_turn
from detkit.structures.kind import Index, Kind, Swaps
from detkit.structures.meshes.meshes import Meshes
from detkit.structures.meshes.object_rows import host_object_index
from detkit.structures.meshes.point_clouds import PointClouds
from detkit.structures.meshes.topology import Topology
from detkit.structures.object_fields import Rows


class _InSpace(Kind):
    """Base class of the kinds whose objects have points in the camera frame, packed.

    No way of mixing images keeps them: the images have cameras of their own.
    """

    per_object = True
    values: ClassVar[type[Meshes] | type[PointClouds]]

    def check(self, owner: str, value: Any, count: int, counted: str) -> None:
        if not isinstance(value, self.values):
            raise TypeError(f"{owner} must be {self.values.__name__}, got {type(value).__name__}")
        if _points_of(value).dtype != torch.float32:
            raise TypeError(f"{owner} must be torch.float32, got {_points_of(value).dtype}")
        if len(value) != count:
            raise ValueError(f"{owner} must be of {count} objects for {count} {counted}, got {len(value)}")

    def count(self, value: Any) -> int:
        return len(value) if isinstance(value, self.values) else 0

    def to(self, value: Any, device: torch.device | str) -> Any:
        return value.to(device)

    def batch_to(self, values: Sequence[Any], device: torch.device | str) -> Sequence[Any]:
        if not _on_one_device(values):
            return super().batch_to(values, device)
        moved: Sequence[Any] = self._cat(values).to(device).split([len(value) for value in values])
        return moved

    def select(self, value: Any, index: Index) -> Any:
        return value[index]

    def batch_select(self, values: Sequence[Any], rows: Sequence[Sequence[int]]) -> Sequence[Any]:
        firsts = np.cumsum([0, *(len(value) for value in values)])
        chosen = [int(first) + row for first, own in zip(firsts, rows, strict=False) for row in own]
        selected: Sequence[Any] = self._cat(values)[chosen].split([len(own) for own in rows])
        return selected

    def move(self, value: Any, placement: Placement, swaps: Swaps) -> Any:
        return self._turned(value, [placement], [len(value)])

    def batch_to_network(
        self, values: Sequence[Any], placements: Sequence[Placement], device: torch.device | str
    ) -> Sequence[Any]:
        if type(self).move is not _InSpace.move or not _on_one_device(values):
            return super().batch_to_network(values, placements, device)
        counts = [len(value) for value in values]
        moved: Sequence[Any] = self._turned(self._cat(values).to(device), placements, counts).split(counts)
        return moved

    def _cat(self, values: Sequence[Any]) -> Any:
        return values[0] if len(values) == 1 else self.values.cat(values)

    def _turned(self, value: Any, placements: Sequence[Placement], counts: Sequence[int]) -> Any:
        """`value` of the objects of several images, of which each has so many, turned with its image."""
        turns = np.array([camera_turn(one.matrix) for one in placements])
        if (turns == np.eye(2)).all():
            return value
        return self.turn(value, torch.from_numpy(np.repeat(turns, counts, axis=0)))

    def turn(self, value: Any, turns: Tensor) -> Any:
        """`value` with x and y of each object multiplied with its orthogonal matrix out of `turns` ``(M, 2, 2)``."""
        raise NotImplementedError


@dataclass(frozen=True)
class ObjectMeshes(_InSpace):
    """`Meshes` of float32, one for each object, in the camera frame. Where an image is mirrored, faces keep their
    outside: their corners reverse."""

    values = Meshes

    def turn(self, value: Meshes, turns: Tensor) -> Meshes:
        topology = value.topology
        vertices = _turned_points(value.vertices, turns, topology.vertex_counts)
        is_mirrored = torch.linalg.det(turns) < 0
        if not bool(is_mirrored.any()):
            return value.with_vertices(vertices)
        of_faces = is_mirrored[host_object_index(topology.face_counts)].to(value.faces.device, non_blocking=True)
        faces = torch.where(of_faces[:, None], value.faces.flip(1), value.faces)
        return Meshes.of(vertices, Topology(faces, topology.vertex_counts, topology.face_counts))

    def pack(self, value: Meshes) -> Any:
        topology = value.topology
        arrays = value.vertices, topology.faces, topology.vertex_counts, topology.face_counts
        return tuple(array.numpy() for array in arrays)

    def unpack(self, parcel: Any) -> Meshes:
        vertices, *topology = (torch.from_numpy(array) for array in parcel)
        return Meshes.of(vertices, Topology(*topology))


@dataclass(frozen=True)
class ObjectPoints(_InSpace):
    """`PointClouds` of float32, one for each object, in the camera frame."""

    values = PointClouds

    def turn(self, value: PointClouds, turns: Tensor) -> PointClouds:
        return value.with_points(_turned_points(value.points, turns, value.counts))

    def pack(self, value: PointClouds) -> Any:
        return value.points.numpy(), value.counts.numpy()

    def unpack(self, parcel: Any) -> PointClouds:
        points, counts = parcel
        return PointClouds.of(torch.from_numpy(points), torch.from_numpy(counts))


@dataclass(frozen=True)
class FrustumVoxels(Rows):
    """``(N, D, H, W)`` float32, what is in the cells of the frustum that the camera sees through each object's box."""

    dtype: torch.dtype = torch.float32
    row: tuple[int | str, ...] = ("D", "H", "W")

    def move(self, value: Tensor, placement: Placement, swaps: Swaps) -> Tensor:
        if not placement.is_axis_aligned:
            raise InputError(
                "voxels in the frustums of boxes cannot follow a placement that turns or shears the image, since a box "
                "does not stay a box: leave out the placement, or the voxels"
            )
        flips = [axis for axis, number in ((3, 0), (2, 1)) if placement.matrix[number][number] < 0]
        return value.flip(flips) if flips else value


def _turned_points(points: Tensor, turns: Tensor, counts: Tensor) -> Tensor:
    """Packed `points` ``(P, 3)``, turned about the z axis with the matrices ``(M, 2, 2)`` of their objects."""
    rows = turns.to(points.dtype)[host_object_index(counts)].to(points.device, non_blocking=True)
    x, y, z = points.unbind(dim=1)
    (a, b), (c, d) = (row.unbind(dim=1) for row in rows.unbind(dim=1))
    return torch.stack((a * x + b * y, c * x + d * y, z), dim=1)


def _points_of(value: Meshes | PointClouds) -> Tensor:
    return value.vertices if isinstance(value, Meshes) else value.points


def _on_one_device(values: Sequence[Meshes | PointClouds]) -> bool:
    first = _points_of(values[0])
    return all(_points_of(one).device == first.device and _points_of(one).dtype == first.dtype for one in values)
