"""Triangle meshes of several objects, packed: `Meshes`, its `Topology`, spheres and subdivision; points: `PointClouds`.

Conventions are PyTorch3D's: the faces of packed meshes name packed vertices, a normal is a unit vector by the
right-hand rule, and edge i of a face lies opposite its corner i.
"""

from detkit.structures.meshes.frustum_shapes import true_frustum_voxels, true_voxels_between
from detkit.structures.meshes.icosphere import icosphere
from detkit.structures.meshes.insides import have_inside
from detkit.structures.meshes.meshes import Meshes
from detkit.structures.meshes.point_clouds import PointClouds
from detkit.structures.meshes.subdivision import subdivided, subdivided_values
from detkit.structures.meshes.topology import Topology

__all__ = [
    "Meshes",
    "PointClouds",
    "Topology",
    "have_inside",
    "icosphere",
    "subdivided",
    "subdivided_values",
    "true_frustum_voxels",
    "true_voxels_between",
]
