"""Drawings of meshes."""

from detkit.visualization.meshes.layered_meshes import draw_layered_meshes
from detkit.visualization.meshes.mesh_drawing import draw_meshes

__all__ = ["draw_layered_meshes", "draw_meshes"]
