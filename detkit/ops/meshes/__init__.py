"""Operations on triangle meshes, packed: the vertices of all objects in one tensor, and faces that index it.

The objects of a batch follow one another; `vertex_counts` and `face_counts` tell how many rows each has.
"""

from detkit.ops.meshes.graph_conv import GraphConv
from detkit.ops.meshes.mesh_edges import FaceEdges, edges_of_faces, mesh_edges
from detkit.ops.meshes.mesh_losses import chamfer_and_normal_losses, edge_length_loss
from detkit.ops.meshes.nearest_neighbors import NearestNeighbors, nearest_neighbors
from detkit.ops.meshes.sample_points import SurfacePoints, sample_points
from detkit.ops.meshes.surfaces import face_areas, face_normals, vertex_normals
from detkit.ops.meshes.vert_align import vert_align
from detkit.ops.meshes.voxels import (
    PackedMeshes,
    check_depth_ranges,
    cubify,
    from_box_frustum,
    frustum_point_voxels,
    frustum_voxels,
    object_depth_ranges,
    to_box_frustum,
    voxelize,
    voxelize_points,
)

__all__ = [
    "FaceEdges",
    "GraphConv",
    "NearestNeighbors",
    "PackedMeshes",
    "SurfacePoints",
    "chamfer_and_normal_losses",
    "check_depth_ranges",
    "cubify",
    "edge_length_loss",
    "edges_of_faces",
    "face_areas",
    "face_normals",
    "from_box_frustum",
    "frustum_point_voxels",
    "frustum_voxels",
    "mesh_edges",
    "nearest_neighbors",
    "object_depth_ranges",
    "sample_points",
    "to_box_frustum",
    "vert_align",
    "vertex_normals",
    "voxelize",
    "voxelize_points",
]
