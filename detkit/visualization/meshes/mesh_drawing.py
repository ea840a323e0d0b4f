"""Draw meshes over the image that they are seen in."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detkit.rendering import Material, render
from detkit.structures import Meshes, ObjectShape
from detkit.visualization.colors import Color
from detkit.visualization.image_files import to_image_array

OPACITY = 0.8
"""Of a mesh over the image."""
SILVER: Color = (200, 210, 230)


def draw_meshes(
    image: np.ndarray | Tensor, meshes: Meshes, camera: Tensor, colors: Sequence[Color] | None = None
) -> np.ndarray:
    """A copy of an image with meshes over it, shaded, nearer ones before others.

    Args:
        image: as of `detkit.visualization.draw_detections`.
        meshes: in the camera frame. What lies behind the camera is not drawn.
        camera: ``(3, 3)``, the intrinsic matrix, in pixels of the image.
        colors: of each mesh, red, green and blue in 0 to 255; None: all are silver.

    Raises:
        InputError: `image` is not an image, or `camera` no intrinsic matrix.
    """
    canvas = to_image_array(image)
    given = [SILVER] * len(meshes) if colors is None else colors
    materials = [Material((red / 255, green / 255, blue / 255)) for red, green, blue in given]
    background = torch.from_numpy(canvas.transpose(2, 0, 1).copy())
    drawn = render(meshes.to("cpu"), camera.cpu(), canvas.shape[:2], materials, background=background)
    over = drawn.image.permute(1, 2, 0).numpy()
    covered = drawn.object_map.numpy() >= 0
    canvas[covered] = (OPACITY * over[covered] + (1 - OPACITY) * canvas[covered]).round()
    return canvas


def draw_shape(shape: ObjectShape, image: np.ndarray | Tensor, *_: Any) -> np.ndarray:
    """A copy of an image with the mesh of its object over it; see `draw_meshes`."""
    return draw_meshes(image, shape.meshes, shape.camera)
