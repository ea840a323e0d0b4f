"""Files of triangle meshes, read and written: OBJ, PLY, glTF and GLB."""

from detkit.mesh_files.gltf import camera_to_y_up, glb_content, read_gltf, read_gltf_objects, write_gltf
from detkit.mesh_files.mesh_suffixes import MESH_SUFFIXES, read_mesh, write_mesh
from detkit.mesh_files.obj import named_obj_text, obj_text, read_obj, write_obj
from detkit.mesh_files.ply import read_ply, write_ply

__all__ = [
    "MESH_SUFFIXES",
    "camera_to_y_up",
    "glb_content",
    "named_obj_text",
    "obj_text",
    "read_gltf",
    "read_gltf_objects",
    "read_mesh",
    "read_obj",
    "read_ply",
    "write_gltf",
    "write_mesh",
    "write_obj",
    "write_ply",
]
