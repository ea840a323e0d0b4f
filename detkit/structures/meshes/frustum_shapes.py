"""What the voxels predicted in boxes should be, of meshes or of points."""

from __future__ import annotations

from torch import Tensor

from detkit.ops.meshes import frustum_point_voxels, frustum_voxels
from detkit.structures.device_transfer import to_device
from detkit.structures.meshes.meshes import Meshes
from detkit.structures.meshes.point_clouds import PointClouds


def true_frustum_voxels(
    shapes: Meshes | PointClouds, boxes: Tensor, cameras: Tensor, size: tuple[int, int, int]
) -> Tensor:
    """The cells that R shapes fill in the frustums of their boxes: bool ``(R, D, H, W)``, near layers first.

    Args:
        shapes: of R objects in the camera frame: closed meshes, or the centers of occupied cells.
        boxes: ``(R, 4)`` ``x1 y1 x2 y2`` in pixels.
        cameras: ``(R, 3, 3)``, the intrinsic matrices, in pixels.
        size: D, H and W, at least 2 each.

    Raises:
        InputError: as of `detkit.ops.meshes.frustum_voxels`.
    """
    if isinstance(shapes, Meshes):
        return frustum_voxels(shapes.packed, boxes, cameras, size)
    return frustum_point_voxels(shapes.points, to_device(shapes.counts, shapes.points.device), boxes, cameras, size)
