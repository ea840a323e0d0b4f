"""What the voxels predicted in boxes, or in whole images, should be: of meshes or of points."""

from __future__ import annotations

import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.ops.meshes import frustum_point_voxels, frustum_voxels, to_box_frustum, voxelize, voxelize_points
from detkit.structures.device_transfer import to_device
from detkit.structures.meshes.meshes import Meshes
from detkit.structures.meshes.point_clouds import PointClouds


def true_frustum_voxels(
    shapes: Meshes | PointClouds,
    boxes: Tensor,
    cameras: Tensor,
    size: tuple[int, int, int],
    depth_ranges: Tensor | None = None,
) -> Tensor:
    """The cells that R shapes fill in the frustums of their boxes: bool ``(R, D, H, W)``, near layers first.

    Args:
        shapes: of R objects in the camera frame: closed meshes, or the centers of occupied cells.
        boxes: ``(R, 4)`` ``x1 y1 x2 y2`` in pixels.
        cameras: ``(R, 3, 3)``, the intrinsic matrices, in pixels.
        size: D, H and W, at least 2 each.
        depth_ranges: ``(R, 2)``, checked before; None: computed and checked. See `detkit.ops.meshes.frustum_voxels`.

    Raises:
        InputError: as of `detkit.ops.meshes.frustum_voxels`.
    """
    if isinstance(shapes, Meshes):
        return frustum_voxels(shapes.packed, boxes, cameras, size, depth_ranges)
    counts = to_device(shapes.counts, shapes.points.device)
    return frustum_point_voxels(shapes.points, counts, boxes, cameras, size, depth_ranges)


@torch.no_grad()
def true_voxels_between(
    shapes: Meshes | PointClouds, boxes: Tensor, cameras: Tensor, depth_ranges: Tensor, size: tuple[int, int, int]
) -> Tensor:
    """As `true_frustum_voxels`, in frustums that begin and end at given depths. What lies outside is left out.

    Args:
        shapes: of R objects in the camera frame: closed meshes, or the centers of occupied cells.
        boxes: ``(R, 4)`` ``x1 y1 x2 y2`` in pixels.
        cameras: ``(R, 3, 3)``, the intrinsic matrices, in pixels.
        depth_ranges: ``(R, 2)``, the z at which each frustum begins and ends, both positive.
        size: D, H and W, at least 2 each.

    Raises:
        InputError: a mesh is not closed, or not in front of the camera.
    """
    if isinstance(shapes, PointClouds):
        counts = to_device(shapes.counts, shapes.points.device)
        return voxelize_points(to_box_frustum(shapes.points, counts, boxes, cameras, depth_ranges), counts, size)
    vertices = to_box_frustum(shapes.vertices, shapes.vertex_counts, boxes, cameras, depth_ranges)
    try:
        return voxelize(vertices, shapes.faces, shapes.face_counts, size)
    except InputError:
        behind = torch.where(shapes.vertices[:, 2] <= 0)[0]
        if not len(behind):
            raise
        number = int(shapes.topology.vertex_objects[behind[0]])
        least = float(shapes.vertices[shapes.topology.vertex_objects == number, 2].min())
        raise InputError(
            f"mesh {number}: its vertices reach to z = {least:g}, which is not in front of the camera; give it in the "
            "camera frame, where z is the distance ahead"
        ) from None
