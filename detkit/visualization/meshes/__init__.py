"""Drawings of meshes."""

from detkit.visualization.meshes.mesh_drawing import draw_meshes

__all__ = ["draw_meshes"]
