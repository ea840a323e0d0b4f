"""The meshes of the objects of an image, as drawings of detections and ground truth show them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from detkit.structures import Detections, Target
from detkit.visualization.colors import Color
from detkit.visualization.meshes.layered_meshes import draw_layered_meshes
from detkit.visualization.meshes.mesh_drawing import draw_meshes


def draw_object_meshes(
    canvas: np.ndarray, objects: Detections | Target, colors: Sequence[Color]
) -> tuple[np.ndarray, list[bool]]:
    """An image with the meshes of N objects over it, and which of them have one that is drawn.

    Distances are known in ground truth. Those of detections are not, see `draw_layered_meshes`.

    Args:
        canvas: ``(H, W, 3)`` uint8.
        objects: on the CPU, in pixels of that image.
        colors: of the N objects.
    """
    if objects.meshes is None or objects.camera is None:
        return canvas, [False] * len(objects)
    has_faces = [count > 0 for count in objects.meshes.topology.face_counts.tolist()]
    if isinstance(objects, Detections):
        return draw_layered_meshes(canvas, objects.meshes, objects.camera, colors, objects.masks), has_faces
    return draw_meshes(canvas, objects.meshes, objects.camera, colors), has_faces
