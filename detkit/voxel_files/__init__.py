"""Files of occupied cells, read as points: binvox, which is written too, and the ``.mat`` files of Pix3D."""

from detkit.voxel_files.binvox import read_binvox, write_binvox
from detkit.voxel_files.pix3d_voxels import read_pix3d_voxels
from detkit.voxel_files.voxel_grids import VoxelGrid
from detkit.voxel_files.voxel_suffixes import VOXEL_SUFFIXES, read_voxel_points

__all__ = ["VOXEL_SUFFIXES", "VoxelGrid", "read_binvox", "read_pix3d_voxels", "read_voxel_points", "write_binvox"]
