"""Files of triangle meshes, read and written."""

from detkit.mesh_files.mesh_suffixes import MESH_SUFFIXES, read_mesh, write_mesh
from detkit.mesh_files.obj import read_obj, write_obj

__all__ = ["MESH_SUFFIXES", "read_mesh", "read_obj", "write_mesh", "write_obj"]
