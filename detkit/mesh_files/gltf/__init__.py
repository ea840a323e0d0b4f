"""glTF 2.0, the format of viewers and browsers: JSON (``.gltf``) or binary (``.glb``), read and written."""

from detkit.mesh_files.gltf.gltf_reading import read_gltf, read_gltf_objects
from detkit.mesh_files.gltf.gltf_writing import glb_content, write_gltf
from detkit.mesh_files.gltf.y_up import camera_to_y_up

__all__ = ["camera_to_y_up", "glb_content", "read_gltf", "read_gltf_objects", "write_gltf"]
