"""What the voxels predicted in boxes should be: true shapes in the frustums of the boxes."""

from __future__ import annotations

import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.ops.meshes.voxels.box_frustum import check_depth_ranges, object_depth_ranges, to_box_frustum
from detkit.ops.meshes.voxels.cubify import PackedMeshes
from detkit.ops.meshes.voxels.voxelize import voxelize, voxelize_points


@torch.no_grad()
def frustum_voxels(
    meshes: PackedMeshes,
    boxes: Tensor,
    cameras: Tensor,
    size: tuple[int, int, int],
    depth_ranges: Tensor | None = None,
) -> Tensor:
    """Voxels of meshes in the frustums of their boxes, whose depth is that of the mesh.

    Gkioxari et al., "Mesh R-CNN", 2019, section 3.2. The frame is that of `to_box_frustum`, the grid that of `cubify`.
    Waits for the device a few times.

    Args:
        meshes: R closed meshes in the camera's frame, see `voxelize`; one for each box, so an object may come again.
        boxes: x1 y1 x2 y2 of each ``(R, 4)``, in pixels. What lies outside its box is left out.
        cameras: intrinsic matrix of each ``(R, 3, 3)``, in pixels.
        size: D, H and W, at least 2 each.
        depth_ranges: ``(R, 2)``, the `object_depth_ranges` of the meshes, if they have passed `check_depth_ranges` and
            all boxes have an area: neither is checked again, which spares two waits. None: both are.

    Returns:
        ``(R, D, H, W)`` bool, near layers first. A mesh without vertices has no occupied voxel.

    Raises:
        InputError: shape, dtype, device or size does not fit; a mesh is not closed, not in front of the camera or has
            no depth; or its box has no area.
    """
    vertices = _in_frustums("mesh", meshes.vertices, meshes.vertex_counts, boxes, cameras, depth_ranges)
    return voxelize(vertices, meshes.faces, meshes.face_counts, size)


@torch.no_grad()
def frustum_point_voxels(
    points: Tensor,
    point_counts: Tensor,
    boxes: Tensor,
    cameras: Tensor,
    size: tuple[int, int, int],
    depth_ranges: Tensor | None = None,
) -> Tensor:
    """Voxels of solids given by points, such as the centers of finer voxels, in the frustums of their boxes.

    As `frustum_voxels`, but a voxel that holds a point is occupied. Waits for the device
    twice, but not with `depth_ranges`.

    Args:
        points: x y z ``(P, 3)`` in the camera's frame, floating point, those of a solid after another's.
        point_counts: points of each of R solids ``(R,)`` int64, which sum to P.
        boxes: x1 y1 x2 y2 of each ``(R, 4)``, in pixels.
        cameras: intrinsic matrix of each ``(R, 3, 3)``, in pixels.
        size: D, H and W, at least 2 each.
        depth_ranges: ``(R, 2)``, of the points, as for `frustum_voxels`.

    Returns:
        ``(R, D, H, W)`` bool, near layers first. A solid without points has no occupied voxel.

    Raises:
        InputError: shape, dtype, device or size does not fit; a solid is not in front of the camera or has no depth; or
            its box has no area.
    """
    points = _in_frustums("solid", points, point_counts, boxes, cameras, depth_ranges)
    return voxelize_points(points, point_counts, size)


def _in_frustums(
    kind: str, points: Tensor, counts: Tensor, boxes: Tensor, cameras: Tensor, depth_ranges: Tensor | None
) -> Tensor:
    """Points in the frames of their boxes; InputError where one has no frame, unless `depth_ranges` are given."""
    if depth_ranges is not None:
        return to_box_frustum(points, counts, boxes, cameras, depth_ranges)
    depth_ranges = object_depth_ranges(points, counts)
    result = to_box_frustum(points, counts, boxes, cameras, depth_ranges)
    has_no_area = (boxes[:, 2:] <= boxes[:, :2]).any(1) & (counts > 0)
    if bool(has_no_area.any()):
        number = int(has_no_area.nonzero()[0])
        raise InputError(f"boxes[{number}] is {boxes[number].tolist()}, without area; leave it out")
    check_depth_ranges(depth_ranges, counts, lambda number: f"{kind} {number}: it")
    return result
