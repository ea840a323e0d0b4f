"""Meshes that a reader of the page can turn, beside the image that they are of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from markupsafe import Markup

from detkit.reporting.parts.compact_mesh import compact_scene
from detkit.reporting.parts.image_strip import StripImage
from detkit.reporting.parts.jpeg_urls import jpeg_data_url
from detkit.reporting.parts.rendering import render
from detkit.structures import Meshes
from detkit.visualization.colors import Color
from detkit.visualization.meshes.turntable import toward


@dataclass(frozen=True, eq=False)
class MeshScene:
    """Meshes that are seen together.

    Args:
        caption: what they are.
        meshes: of N objects, in the camera frame.
        colors: of each.
    """

    caption: str
    meshes: Meshes
    colors: Sequence[Color]


def mesh_viewer(title: str, scenes: Sequence[MeshScene], image: StripImage | None, longest_side: int) -> Markup:
    """Scenes side by side, which turn together; at first they are seen as the camera sees them.

    Args:
        title: what they show.
        scenes: in one camera frame. The first that has vertices says what is in the middle.
        image: that they are of.
        longest_side: of the image in the page, in pixels; a larger one is reduced.
    """
    own = [scene.meshes.to("cpu") for scene in scenes]
    center, radius = _middle(next((meshes for meshes in own if len(meshes.vertices)), None))
    compact = [compact_scene(meshes, scene.colors) for meshes, scene in zip(own, scenes, strict=True)]
    captions = [
        f"{scene.caption}{' (simplified)' if one['simplified'] else ''}"
        for scene, one in zip(scenes, compact, strict=True)
    ]
    return render(
        "mesh_viewer.html",
        title=title,
        content={
            "scenes": compact,
            "center": center.tolist(),
            "radius": radius,
            "turn": toward(torch.from_numpy(center)).tolist(),
        },
        views=[
            (caption, f"{caption}: {_described(meshes)}. Arrow keys turn it, plus and minus zoom, 0 shows it as seen.")
            for caption, meshes in zip(captions, own, strict=True)
        ],
        image=None if image is None else jpeg_data_url(image.image, longest_side),
        image_caption="" if image is None else image.caption,
    )


def _middle(meshes: Meshes | None) -> tuple[np.ndarray, float]:
    """The middle of a scene's bounds, and the radius of the sphere around it that holds the scene."""
    if meshes is None:
        return np.array([0.0, 0, 1]), 1.0
    points = meshes.vertices.detach().double().numpy()
    center = (points.min(axis=0) + points.max(axis=0)) / 2
    return center, max(float(np.linalg.norm(points - center, axis=1).max()), 1e-6)


def _described(meshes: Meshes) -> str:
    objects = f"{len(meshes)} object{'' if len(meshes) == 1 else 's'}"
    return f"{objects} with {len(meshes.vertices)} vertices and {len(meshes.faces)} faces"
