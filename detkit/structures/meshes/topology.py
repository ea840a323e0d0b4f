"""`Topology`: the faces of several meshes, their edges, and which object each belongs to; no coordinates."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from detkit.ops.meshes import FaceEdges, edges_of_faces
from detkit.structures.device_transfer import to_device
from detkit.structures.meshes.object_rows import host_object_index, starts


@dataclass(frozen=True, eq=False)
class Topology:
    """The faces of M meshes, packed. Edges are found once, and shared by all meshes that differ in vertices alone.

    Args:
        faces: ``(F, 3)`` int64, the packed vertices of each triangle, object after object.
        vertex_counts: ``(M,)`` int64 on the CPU, so that sizes are known without waiting for the device.
        face_counts: ``(M,)`` int64 on the CPU.
    """

    faces: Tensor
    vertex_counts: Tensor
    face_counts: Tensor

    @property
    def vertex_starts(self) -> Tensor:
        """``(M,)`` int64 on the CPU, the first packed vertex of each object."""
        return starts(self.vertex_counts)

    @cached_property
    def device_vertex_counts(self) -> Tensor:
        """`vertex_counts` on the faces' device."""
        return to_device(self.vertex_counts, self.faces.device)

    @cached_property
    def device_face_counts(self) -> Tensor:
        """`face_counts` on the faces' device."""
        return to_device(self.face_counts, self.faces.device)

    @cached_property
    def vertex_objects(self) -> Tensor:
        """``(V,)`` int64, the object of each vertex."""
        return to_device(host_object_index(self.vertex_counts), self.faces.device)

    @cached_property
    def face_objects(self) -> Tensor:
        """``(F,)`` int64, the object of each face."""
        return to_device(host_object_index(self.face_counts), self.faces.device)

    @property
    def edges(self) -> Tensor:
        """``(E, 2)`` int64, each edge once, its smaller vertex first, in ascending order, so object after object.

        A face that names a vertex twice has an edge from it to itself.
        """
        return self._edges.edges

    @property
    def face_edges(self) -> Tensor:
        """``(F, 3)`` int64, the edges of each face: the one opposite its first corner, its second, and its third."""
        return self._edges.face_edges

    @cached_property
    def edge_objects(self) -> Tensor:
        """``(E,)`` int64, the object of each edge."""
        return self.vertex_objects[self.edges[:, 0]]

    @cached_property
    def edge_face_counts(self) -> Tensor:
        """``(E,)`` int64, the number of faces at each edge: 2 inside a surface, 1 at a border."""
        return torch.bincount(self.face_edges.flatten(), minlength=len(self.edges))

    @cached_property
    def edge_counts(self) -> Tensor:
        """``(M,)`` int64 on the CPU, the edges of each object; waits for the device."""
        return torch.bincount(self.edge_objects, minlength=len(self.vertex_counts)).cpu()

    def euler_characteristics(self) -> Tensor:
        """``(M,)`` int64 on the CPU, vertices - edges + faces: 2 for a sphere, 0 for a torus."""
        return self.vertex_counts - self.edge_counts + self.face_counts

    def is_closed(self) -> Tensor:
        """``(M,)`` bool on the faces' device: each edge has exactly two faces (watertight); False without faces."""
        open_edges = torch.zeros(len(self.face_counts), dtype=torch.int64, device=self.faces.device)
        open_edges.index_add_(0, self.edge_objects, (self.edge_face_counts != 2).long())
        return (open_edges == 0) & to_device(self.face_counts > 0, self.faces.device)

    def to(self, device: torch.device | str) -> Topology:
        """The same meshes on `device`; itself where it is there."""
        faces = to_device(self.faces, device)
        return self if faces is self.faces else Topology(faces, self.vertex_counts, self.face_counts)

    @cached_property
    def _edges(self) -> FaceEdges:
        return edges_of_faces(self.faces)
