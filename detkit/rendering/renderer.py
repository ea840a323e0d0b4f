"""Meshes to an image, with its depth and which object each pixel shows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.rendering.rasterizer import NEAR, rasterize
from detkit.rendering.shading import Color, Lighting, Material, shade
from detkit.structures import Meshes


@dataclass(frozen=True, eq=False)
class Rendering:
    """A rendered image.

    Args:
        image: ``(3, H, W)`` uint8 RGB.
        depth: ``(H, W)`` float32, z at each pixel's center, inf where nothing is.
        object_map: ``(H, W)`` int64, the number of the mesh at each pixel, -1 where nothing is.
    """

    image: Tensor
    depth: Tensor
    object_map: Tensor

    def masks(self, count: int) -> Tensor:
        """``(count, H, W)`` bool, the visible pixels of the first `count` meshes."""
        return self.object_map == torch.arange(count)[:, None, None]


def render(
    meshes: Meshes,
    camera: Tensor,
    size: tuple[int, int],
    materials: Sequence[Material] | None = None,
    lighting: Lighting = Lighting(),  # noqa: B008 (frozen)
    background: Tensor | Color = (1.0, 1.0, 1.0),
    near: float = NEAR,
) -> Rendering:
    """Render meshes on the CPU. One sample per pixel, at its center; not differentiable.

    Args:
        meshes: in the camera frame: x right, y down, z away from the camera.
        camera: ``(3, 3)``, the intrinsic matrix in pixels.
        size: height and width of the image.
        materials: one per mesh; None: all are gray.
        lighting: of the scene.
        background: a color in [0, 1], or the image behind the meshes, ``(3, H, W)`` uint8.
        near: the least depth z that is drawn, in units of the meshes.

    Raises:
        InputError: the camera is no intrinsic matrix, a size is not positive, or materials or background do not fit.
    """
    materials = [Material()] * len(meshes) if materials is None else list(materials)
    if len(materials) != len(meshes):
        raise InputError(f"rendering: there are {len(materials)} materials for {len(meshes)} meshes; give one per mesh")
    fragments = rasterize(meshes, camera, size, near)
    canvas = _canvas(background, size)
    if len(fragments.pixels):
        colors = shade(fragments, meshes, materials, lighting)
        canvas.reshape(-1, 3)[fragments.pixels] = np.rint(np.clip(colors.T, 0, 1) * 255)
    image = torch.from_numpy(np.ascontiguousarray(canvas.transpose(2, 0, 1)))
    return Rendering(image, fragments.depth_map(), fragments.object_map())


def _canvas(background: Tensor | Color, size: tuple[int, int]) -> np.ndarray:
    """The background, ``(H, W, 3)`` uint8, to be drawn on."""
    if not isinstance(background, Tensor):
        if len(background) != 3 or not all(0 <= value <= 1 for value in background):
            raise InputError(f"rendering: the background {background} is not red, green and blue in 0 to 1")
        return np.tile(np.rint(np.array(background) * 255).astype(np.uint8), (*size, 1))
    if background.dtype != torch.uint8 or tuple(background.shape) != (3, *size):
        described = f"{background.dtype} {tuple(background.shape)}"
        raise InputError(f"rendering: the background is {described}; give uint8 pixels of the shape {(3, *size)}")
    return np.array(background.cpu().numpy().transpose(1, 2, 0), order="C")
