"""Columns of shapes in space: the files of the meshes and voxels of objects, and how each lies in the camera frame."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np
import torch
from torch import Tensor

from detkit.data.packed.columns import Column, ImageFacts
from detkit.data.packed.file_cache import FileCache
from detkit.errors import InputError
from detkit.mesh_files import read_mesh
from detkit.structures import Meshes, PointClouds
from detkit.voxel_files import read_voxel_points

MOST_BYTES = 2**28
"""What a process keeps of the meshes it has read, and of the voxels."""

FROM_MESH_RCNN = np.diag((-1.0, -1.0, 1.0))
"""From the camera frame of Pix3D and Mesh R-CNN, x left and y up, to detkit's, x right and y down; and back."""

Poses = np.ndarray
"""``(m, 3, 4)`` float64, from the coordinates of files to the camera frame: rotations, beside translations."""

read_kept_mesh = FileCache(read_mesh, lambda one: one.vertices.nbytes + one.faces.nbytes, MOST_BYTES)
read_kept_points = FileCache(read_voxel_points, lambda points: points.nbytes, MOST_BYTES)


@dataclass(frozen=True)
class PosedFiles(Column):
    """Base class of columns of one file for each object, whose content is placed in the camera frame on access.

    Files are read once in a process, as long as `MOST_BYTES` suffice.

    Args:
        paths: ``(m,)`` str; empty for objects without a file.
        poses: ``(m, 3, 4)``, see `Poses`.

    Attributes:
        key: of the path, in the object's entry of a COCO file.
    """

    paths: np.ndarray
    poses: Poses

    key: ClassVar[str]

    def select(self, rows: np.ndarray) -> Self:
        return replace(self, paths=self.paths[rows], poses=self.poses[rows])

    def field(self, rows: slice, image: ImageFacts) -> Any:
        paths = self.paths[rows].tolist()
        if paths and not any(paths):
            return None
        return self.placed(paths, self.poses[rows], image)

    def placed(self, paths: list[str], poses: Poses, image: ImageFacts) -> Any:
        """The shapes of an image's objects in the camera frame; an object without a file has an empty one."""
        raise NotImplementedError

    def entry(self, row: int) -> dict[str, Any]:
        path, pose = str(self.paths[row]), FROM_MESH_RCNN @ self.poses[row]
        if not path:
            return {}
        return {self.key: path, "rot_mat": pose[:, :3].tolist(), "trans_mat": pose[:, 3].tolist()}


@dataclass(frozen=True)
class MeshFiles(PosedFiles):
    """The mesh of each object.

    Raises:
        InputError: on access, a mesh has no faces, or is not in front of the camera.
    """

    key = "model"

    def placed(self, paths: list[str], poses: Poses, image: ImageFacts) -> Meshes:
        read = [read_kept_mesh(path) if path else Meshes([torch.zeros(0, 3)], [_no_faces()]) for path in paths]
        for path, mesh in zip(paths, read, strict=True):
            if path:
                check_surface(mesh, f"{image.source}: in image {image.image_id!r}, {path}")
        points = [one.vertices for one in read]
        return Meshes.cat(read).with_vertices(_together(points, paths, poses, image))


@dataclass(frozen=True)
class VoxelFiles(PosedFiles):
    """The centers of the occupied cells of each object."""

    key = "voxel"

    def placed(self, paths: list[str], poses: Poses, image: ImageFacts) -> PointClouds:
        read = [read_kept_points(path) if path else torch.zeros(0, 3) for path in paths]
        counts = torch.tensor([len(points) for points in read], dtype=torch.int64)
        return PointClouds.of(_together(read, paths, poses, image), counts)


def check_surface(mesh: Meshes, name: str) -> None:
    """Raise an `InputError` that calls the mesh `name` where it has no faces."""
    if not len(mesh.faces):
        raise InputError(f"{name} has no faces, and so no surface to learn; repair the file, or leave the object out")


def points_in_front(points: Tensor, pose: np.ndarray, name: str) -> Tensor:
    """Points in the camera frame, float32.

    Args:
        points: ``(P, 3)``, in coordinates of their own.
        pose: ``(3, 4)``, from these to the camera frame.
        name: of what has these points, for messages.

    Raises:
        InputError: they are not all in front of the camera.
    """
    placed = points.numpy().astype(np.float64) @ pose[:, :3].T + pose[:, 3]
    if len(placed) and placed[:, 2].min() <= 0:
        raise InputError(
            f"{name} reaches from z = {placed[:, 2].min():.4g} to {placed[:, 2].max():.4g}, but the camera sees what "
            "lies at z > 0 alone; correct its pose, or leave the object out"
        )
    return torch.from_numpy(placed.astype(np.float32))


def _together(points: list[Tensor], paths: list[str], poses: Poses, image: ImageFacts) -> Tensor:
    """The points of all objects, packed, in the camera frame."""
    placed = [
        points_in_front(own, pose, f"{image.source}: in image {image.image_id!r}, {path}")
        for own, pose, path in zip(points, poses, paths, strict=True)
    ]
    return torch.cat(placed) if placed else torch.zeros(0, 3)


def _no_faces() -> Tensor:
    return torch.zeros(0, 3, dtype=torch.int64)
