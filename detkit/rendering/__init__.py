"""Triangle meshes drawn as images, on the CPU: a rasterizer with a depth buffer, and its shading."""

from detkit.rendering.rasterizer import Fragments, rasterize
from detkit.rendering.renderer import Rendering, render
from detkit.rendering.shading import Light, Lighting, Material

__all__ = ["Fragments", "Light", "Lighting", "Material", "Rendering", "rasterize", "render"]
