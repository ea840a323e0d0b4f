"""`Meshes`: the triangle meshes of several objects, packed into one tensor of vertices and one of faces."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.structures.device_transfer import to_device
from detkit.structures.meshes import surfaces
from detkit.structures.meshes.mesh_checks import check_lists, check_values
from detkit.structures.meshes.topology import Topology, owners, starts


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
        shifts = to_device(starts(vertex_counts)[owners(face_counts)], local.device)
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
        shift, faces = 0, []
        for part in parts:
            faces.append(part.faces + shift)
            shift += len(part.vertices)
        vertex_counts = torch.cat([part.topology.vertex_counts for part in parts])
        face_counts = torch.cat([part.topology.face_counts for part in parts])
        vertices = torch.cat([part.vertices for part in parts])
        return cls.of(vertices, Topology(torch.cat(faces), vertex_counts, face_counts))

    @property
    def faces(self) -> Tensor:
        """``(F, 3)`` int64, those of all objects, counted in the packed vertices."""
        return self.topology.faces

    @property
    def edges(self) -> Tensor:
        """``(E, 2)`` int64, each edge of the packed vertices once; see `Topology.edges`."""
        return self.topology.edges

    def __len__(self) -> int:
        return len(self.topology.vertex_counts)

    def __getitem__(self, index: int | slice | Sequence[int] | Tensor) -> Meshes:
        """The chosen objects: by number, slice, ``(M,)`` mask or numbers; one number gives meshes of one object.

        An index on a GPU is fetched from it.

        Raises:
            IndexError: there is no such object, or a mask has another length.
        """
        objects = self._chosen(index)
        vertex_counts, face_counts = self.topology.vertex_counts, self.topology.face_counts
        vertex_rows = _rows(starts(vertex_counts)[objects], vertex_counts[objects])
        face_rows = _rows(starts(face_counts)[objects], face_counts[objects])
        moved = starts(vertex_counts[objects]) - starts(vertex_counts)[objects]
        shifts = to_device(moved[owners(face_counts[objects])], self.faces.device)
        faces = self.faces[to_device(face_rows, self.faces.device)] + shifts[:, None]
        vertices = self.vertices[to_device(vertex_rows, self.vertices.device)]
        return Meshes.of(vertices, Topology(faces, vertex_counts[objects], face_counts[objects]))

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
        return surfaces.face_areas(self.vertices, self.faces)

    def face_normals(self) -> Tensor:
        """``(F, 3)`` unit vectors by the right-hand rule; 0 where a face has no area."""
        return surfaces.face_normals(self.vertices, self.faces)

    def vertex_normals(self) -> Tensor:
        """``(V, 3)`` unit vectors, the mean over a vertex' faces weighted by area; 0 at vertices without faces."""
        return surfaces.vertex_normals(self.vertices, self.faces)

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

    def _chosen(self, index: int | slice | Sequence[int] | Tensor) -> Tensor:
        """The numbers of the chosen objects, on the CPU."""
        numbers = torch.arange(len(self))
        if isinstance(index, slice):
            return torch.tensor(range(len(self))[index], dtype=torch.int64)
        if isinstance(index, Tensor):
            return numbers[index.cpu()].reshape(-1)
        if isinstance(index, Sequence):  # of no member it has no dtype
            return numbers[torch.tensor(index)] if index else numbers[:0]
        return numbers[index].reshape(1)


def _rows(firsts: Tensor, counts: Tensor) -> Tensor:
    """The rows of groups that begin at `firsts`, one group after the other."""
    members = owners(counts)
    return (firsts - starts(counts))[members] + torch.arange(len(members))
