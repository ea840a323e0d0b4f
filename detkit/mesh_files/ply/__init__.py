"""PLY, the polygon format of Stanford: text or binary, read and written."""

from detkit.mesh_files.ply.ply_files import read_ply, write_ply

__all__ = ["read_ply", "write_ply"]
