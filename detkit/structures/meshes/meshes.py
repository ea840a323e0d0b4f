"""`Meshes`: the triangle meshes of several objects, packed into one tensor of vertices and one of faces."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.ops import meshes as operations
from detkit.structures.device_transfer import to_device
from detkit.structures.meshes.mesh_checks import check_lists, check_values
from detkit.structures.meshes.object_rows import (
    ObjectIndex,
    chosen_objects,
    chosen_rows,
    host_object_index,
    part_bounds,
    starts,
)
from detkit.structures.meshes.topology import Topology


class Meshes:
    """The triangle meshes of M objects, which may have any number of vertices and faces, none included.

    Args:
        vertices: per object ``(V, 3)`` floats of one dtype.
        faces: per object ``(F, 3)`` int64, the vertices of each triangle, counted from 0 in its object.

    Attributes:
        vertices: ``(V, 3)``, those of all objects, one object after the other.
        topology: the faces and edges.

    Raises:
        InputError: a shape, dtype or device is wrong, a coordinate is NaN or infinite, or a face names no vertex. The
            check of the values waits for the device; `with_vertices` has none.
    """

    vertices: Tensor
    topology: Topology

    def __init__(self, vertices: Sequence[Tensor], faces: Sequence[Tensor]) -> None:
        check_lists(vertices, faces)
        vertex_counts = torch.tensor([len(points) for points in vertices], dtype=torch.int64)
        face_counts = torch.tensor([len(triangles) for triangles in faces], dtype=torch.int64)
        packed = torch.cat(list(vertices)) if len(vertices) else torch.zeros(0, 3)
        local = torch.cat(list(faces)) if len(faces) else torch.zeros(0, 3, dtype=torch.int64)
        shifts = to_device(starts(vertex_counts)[host_object_index(face_counts)], local.device)
        self.vertices = packed
        self.topology = Topology(local + shifts[:, None], vertex_counts, face_counts)
        check_values(packed, self.topology, local)

    @classmethod
    def of(cls, vertices: Tensor, topology: Topology) -> Meshes:
        """Meshes of packed ``(V, 3)`` vertices and their topology, which are not checked."""
        meshes = cls.__new__(cls)
        meshes.vertices, meshes.topology = vertices, topology
        return meshes

    @classmethod
    def of_packed(cls, packed: operations.PackedMeshes) -> Meshes:
        """The result of an operator, such as `detkit.ops.meshes.cubify`, which is not checked; waits for the device."""
        counts = torch.stack((packed.vertex_counts, packed.face_counts)).cpu()
        return cls.of(packed.vertices, Topology(packed.faces, *counts.unbind()))

    @property
    def packed(self) -> operations.PackedMeshes:
        """The meshes as `detkit.ops.meshes` takes them."""
        return operations.PackedMeshes(self.vertices, self.faces, self.vertex_counts, self.face_counts)

    @classmethod
    def cat(cls, parts: Sequence[Meshes]) -> Meshes:
        """The objects of all `parts`, one after the other; those of one dtype and device.

        Raises:
            InputError: they differ in dtype or device.
        """
        if not parts:
            return cls([], [])
        kinds = {(part.vertices.dtype, part.vertices.device) for part in parts}
        if len(kinds) > 1:
            listed = ", ".join(sorted(f"{dtype} on {device}" for dtype, device in kinds))
            raise InputError(f"meshes of {listed} cannot be concatenated; bring them to one dtype and device with `to`")
        vertex_counts = torch.cat([part.topology.vertex_counts for part in parts])
        face_counts = torch.cat([part.topology.face_counts for part in parts])
        vertices, faces = torch.cat([part.vertices for part in parts]), torch.cat([part.faces for part in parts])
        firsts = starts(torch.tensor([len(part.vertices) for part in parts]))
        shifts = to_device(firsts[host_object_index(torch.tensor([len(part.faces) for part in parts]))], faces.device)
        return cls.of(vertices, Topology(faces + shifts[:, None], vertex_counts, face_counts))

    @property
    def faces(self) -> Tensor:
        """``(F, 3)`` int64, those of all objects, counted in the packed vertices."""
        return self.topology.faces

    @property
    def edges(self) -> Tensor:
        """``(E, 2)`` int64, each edge of the packed vertices once; see `Topology.edges`."""
        return self.topology.edges

    @property
    def vertex_counts(self) -> Tensor:
        """``(M,)`` int64 on the faces' device, as `detkit.ops.meshes` takes it; the topology has it on the CPU."""
        return self.topology.device_vertex_counts

    @property
    def face_counts(self) -> Tensor:
        """``(M,)`` int64 on the faces' device, as `detkit.ops.meshes` takes it; the topology has it on the CPU."""
        return self.topology.device_face_counts

    def __len__(self) -> int:
        return len(self.topology.vertex_counts)

    def __getitem__(self, index: ObjectIndex) -> Meshes:
        """The chosen objects: by number, slice, ``(M,)`` mask or numbers; one number gives meshes of one object.

        An index on a GPU is fetched from it.

        Raises:
            IndexError: there is no such object, or a mask has another length.
        """
        objects = chosen_objects(index, len(self))
        vertex_counts, face_counts = self.topology.vertex_counts, self.topology.face_counts
        moved = starts(vertex_counts[objects]) - starts(vertex_counts)[objects]
        shifts = to_device(moved[host_object_index(face_counts[objects])], self.faces.device)
        faces = chosen_rows(self.faces, face_counts, objects) + shifts[:, None]
        vertices = chosen_rows(self.vertices, vertex_counts, objects)
        return Meshes.of(vertices, Topology(faces, vertex_counts[objects], face_counts[objects]))

    def split(self, counts: Sequence[int]) -> list[Meshes]:
        """Consecutive parts with so many objects each, such as those of the images of a batch; their vertices are
        views."""
        topology, parts = self.topology, list(counts)
        at_vertex, at_face = (part_bounds(own, parts) for own in (topology.vertex_counts, topology.face_counts))
        shifts = to_device(torch.from_numpy(np.repeat(at_vertex[:-1], np.diff(at_face))), self.faces.device)
        faces = torch.split(self.faces - shifts[:, None], np.diff(at_face).tolist())
        vertices = torch.split(self.vertices, np.diff(at_vertex).tolist())
        sizes = (torch.split(own, parts) for own in (topology.vertex_counts, topology.face_counts))
        of_parts = zip(vertices, faces, *sizes, strict=True)
        return [Meshes.of(points, Topology(triangles, *own)) for points, triangles, *own in of_parts]

    def vertices_list(self) -> list[Tensor]:
        """Per object ``(V, 3)``, views of the packed vertices."""
        return list(torch.split(self.vertices, self.topology.vertex_counts.tolist()))

    def faces_list(self) -> list[Tensor]:
        """Per object ``(F, 3)`` int64, counted from 0 in its own vertices."""
        shifts = to_device(self.topology.vertex_starts, self.faces.device)[self.topology.face_objects]
        return list(torch.split(self.faces - shifts[:, None], self.topology.face_counts.tolist()))

    def with_vertices(self, vertices: Tensor) -> Meshes:
        """The same faces over other packed ``(V, 3)`` vertices; edges that are known stay known.

        Raises:
            InputError: the shape differs from that of the vertices.
        """
        if vertices.shape != self.vertices.shape:
            shapes = f"{tuple(vertices.shape)}, those of the meshes {tuple(self.vertices.shape)}"
            raise InputError(f"meshes: the new vertices are {shapes}; give one row per vertex")
        return Meshes.of(vertices, self.topology.to(vertices.device))

    def to(self, device: torch.device | str | None = None, dtype: torch.dtype | None = None) -> Meshes:
        """The meshes on `device`, their vertices in `dtype`; None: as they are."""
        place = self.vertices.device if device is None else device
        return Meshes.of(to_device(self.vertices, place).to(dtype or self.vertices.dtype), self.topology.to(place))

    def face_areas(self) -> Tensor:
        """``(F,)``, in squared units of the vertices."""
        return operations.face_areas(self.vertices, self.faces)

    def face_normals(self) -> Tensor:
        """``(F, 3)`` unit vectors by the right-hand rule; 0 where a face has no area."""
        return operations.face_normals(self.vertices, self.faces)

    def vertex_normals(self) -> Tensor:
        """``(V, 3)`` unit vectors, the mean over a vertex' faces weighted by area; 0 at vertices without faces."""
        return operations.vertex_normals(self.vertices, self.faces)

    def sample_points(self, number: int, generator: torch.Generator | None = None) -> operations.SurfacePoints:
        """`number` points of each object, uniform by area, with normals; see `detkit.ops.meshes.sample_points`."""
        return operations.sample_points(self.vertices, self.faces, self.face_counts, number, generator)

    def edge_lengths(self) -> Tensor:
        """``(E,)``, in units of the vertices."""
        first, second = self.vertices[self.edges].unbind(dim=1)
        lengths: Tensor = torch.linalg.vector_norm(first - second, dim=1)
        return lengths

    def euler_characteristics(self) -> Tensor:
        """``(M,)`` int64 on the CPU, vertices - edges + faces: 2 for a sphere, 0 for a torus."""
        return self.topology.euler_characteristics()

    def is_closed(self) -> Tensor:
        """``(M,)`` bool: each edge has exactly two faces (watertight); False without faces."""
        return self.topology.is_closed()

    def __repr__(self) -> str:
        """The number of objects and what they have, such as ``Meshes(2 objects, 50 vertices, 96 faces)``."""
        return f"Meshes({len(self)} objects, {len(self.vertices)} vertices, {len(self.faces)} faces)"
