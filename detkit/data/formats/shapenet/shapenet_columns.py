"""Columns of the shapes that ShapeNet's renderings show, read on access."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from detkit.data.formats.shapenet.shape_cache import ShapeCache
from detkit.data.formats.shapenet.shapenet_folders import mesh_file, views_file, voxel_file
from detkit.data.formats.shapenet.shapenet_views import read_views
from detkit.data.packed.columns import Column, ImageFacts
from detkit.data.packed.file_cache import FileCache
from detkit.data.packed.shape_columns import check_surface, points_in_front
from detkit.errors import InputError
from detkit.structures import Meshes, PointClouds

read_kept_views = FileCache(read_views, lambda poses: poses.nbytes, 2**24)


@dataclass(frozen=True)
class ViewedShapes(Column):
    """Base class of columns of the one shape that each image shows.

    Args:
        root: the folder of the data set.
        models: ``(k,)`` str, ``synset/id``.
        rows: ``(n,)`` int64, the model of each image.
        views: ``(n,)`` int64, the number of each image among those of its model.
        cache: reads the files.
    """

    root: Path
    models: np.ndarray
    rows: np.ndarray
    views: np.ndarray
    cache: ShapeCache

    per_object = False

    def select(self, rows: np.ndarray) -> Self:
        return replace(self, rows=self.rows[rows], views=self.views[rows])

    def field(self, rows: slice, image: ImageFacts) -> Any:
        model, view = str(self.models[self.rows[rows.start]]), int(self.views[rows.start])
        path = views_file(self.root, model)
        poses = read_kept_views(path)
        if view >= len(poses):
            raise InputError(f"{path}: there are {len(poses)} views, but {image.source} names view {view}, from 0")
        return self.seen(model, poses[view])

    def seen(self, model: str, pose: np.ndarray) -> Any:
        """The shape of a model in the camera frame."""
        raise NotImplementedError


@dataclass(frozen=True)
class ViewedMeshes(ViewedShapes):
    """The mesh of the object of each image."""

    def seen(self, model: str, pose: np.ndarray) -> Meshes:
        path = mesh_file(self.root, model)
        mesh = self.cache.mesh(path, model)
        check_surface(mesh, path)
        return mesh.with_vertices(points_in_front(mesh.vertices, pose, path))


@dataclass(frozen=True)
class ViewedVoxels(ViewedShapes):
    """The centers of the occupied cells of the object of each image.

    They are stretched so that their extent is that of the mesh, whose coordinates the files do not share.
    """

    def seen(self, model: str, pose: np.ndarray) -> PointClouds:
        path = voxel_file(self.root, model)
        mesh = self.cache.mesh(mesh_file(self.root, model), model)
        points = aligned_points(self.cache.points(path, model), mesh.vertices)
        return PointClouds([points_in_front(points, pose, path)])


def aligned_points(points: Tensor, vertices: Tensor) -> Tensor:
    """Points ``(P, 3)`` moved and scaled along each axis, so that their least and greatest coordinates are those of
    `vertices` ``(V, 3)``; in the middle of these along an axis where they are all the same. float64."""
    if not len(points) or not len(vertices):
        return points.double()
    low, high = points.double().aminmax(dim=0)
    least, greatest = vertices.double().aminmax(dim=0)
    extent = high - low
    share = torch.where(extent > 0, (points.double() - low) / torch.where(extent > 0, extent, 1.0), 0.5)
    return least + share * (greatest - least)
