"""Meshes that a reader of the page can turn, beside the image that they are of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from markupsafe import Markup
from torch import Tensor

from detkit.reporting.parts.compact_mesh import compact_scene
from detkit.reporting.parts.image_strip import StripImage
from detkit.reporting.parts.jpeg_urls import jpeg_data_url
from detkit.reporting.parts.rendering import render
from detkit.structures import Meshes
from detkit.visualization.colors import Color
from detkit.visualization.meshes.turntable import DISTANCE, toward

_MOST_ZOOM = 2.5


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
    points = next((meshes.vertices.detach().double() for meshes in own if len(meshes.vertices)), torch.zeros(0, 3))
    center, radius = _middle(points)
    turn = toward(center)
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
            "turn": turn.tolist(),
            "zoom": _first_zoom((points - center) @ turn.T / radius),
        },
        views=[
            (caption, f"{caption}: {_described(meshes)}. Arrow keys turn it, plus and minus zoom, 0 shows it as seen.")
            for caption, meshes in zip(captions, own, strict=True)
        ],
        image=None if image is None else jpeg_data_url(image.image, longest_side),
        image_caption="" if image is None else image.caption,
    )


def _middle(points: Tensor) -> tuple[Tensor, float]:
    """The middle of the bounds of points ``(V, 3)``, and the radius of the sphere around it that holds them."""
    if not len(points):
        return torch.tensor([0, 0, 1.0]).double(), 1.0
    low, high = points.aminmax(dim=0)
    center = (low + high) / 2
    return center, max(float((points - center).norm(dim=1).max()), 1e-6)


def _first_zoom(points: Tensor) -> float:
    """The zoom at which points in the unit sphere fill most of the canvas at first; at 1 the sphere would."""
    if not len(points):
        return 1.0
    seen = points[:, :2] / (points[:, 2:] + DISTANCE) * math.sqrt(DISTANCE**2 - 1)
    return min(1 / max(float(seen.abs().max()), 1e-6), _MOST_ZOOM)


def _described(meshes: Meshes) -> str:
    objects = f"{len(meshes)} object{'' if len(meshes) == 1 else 's'}"
    return f"{objects} with {len(meshes.vertices)} vertices and {len(meshes.faces)} faces"
