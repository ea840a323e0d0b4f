"""Files of triangle meshes, read and written: OBJ and PLY."""

from detkit.mesh_files.mesh_suffixes import MESH_SUFFIXES, read_mesh, write_mesh
from detkit.mesh_files.obj import read_obj, write_obj
from detkit.mesh_files.ply import read_ply, write_ply

__all__ = [
    "MESH_SUFFIXES",
    "read_mesh",
    "read_obj",
    "read_ply",
    "write_mesh",
    "write_obj",
    "write_ply",
]
