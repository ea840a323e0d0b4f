"""Voxels of meshes, meshes of voxels, and the frustums of boxes that both may lie in."""

from detkit.ops.meshes.voxels.box_frustum import (
    check_depth_ranges,
    from_box_frustum,
    object_depth_ranges,
    to_box_frustum,
)
from detkit.ops.meshes.voxels.cubify import PackedMeshes, cubify
from detkit.ops.meshes.voxels.frustum_voxels import frustum_point_voxels, frustum_voxels
from detkit.ops.meshes.voxels.voxelize import voxelize, voxelize_points

__all__ = [
    "PackedMeshes",
    "check_depth_ranges",
    "cubify",
    "from_box_frustum",
    "frustum_point_voxels",
    "frustum_voxels",
    "object_depth_ranges",
    "to_box_frustum",
    "voxelize",
    "voxelize_points",
]
