"""Meshes that turn, each before a camera of its own."""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from detkit.rendering import Material, render
from detkit.structures import Meshes
from detkit.visualization.colors import Color
from detkit.visualization.labels import draw_labels

FRAMES = 24
_SIDE = 400
"""Of a frame, in pixels."""
_DURATION = 120
"""Of a frame, in milliseconds; GIF counts in hundredths of a second."""
DISTANCE = 3.0
"""From the camera to an object's center, in radii of the sphere around it."""
_FILLED = 0.92
"""The share of its tile that this sphere fills."""


def turntable(
    meshes: Meshes, names: Sequence[str], colors: Sequence[Color], frames: int = FRAMES, side: int = _SIDE
) -> list[np.ndarray]:
    """Images of one turn of all objects, each about the vertical through its center, in a tile of its own.

    The first image shows each as the camera of the meshes sees it; then it walks around the object to its right.

    Args:
        meshes: of N objects, in the camera frame.
        names: of each.
        colors: of each.
        frames: the number of images.
        side: of an image in pixels, about.

    Returns:
        uint8 ``(H, W, 3)`` each; white where nothing is.
    """
    columns = max(1, math.ceil(math.sqrt(len(names))))
    rows, tile = max(1, math.ceil(len(names) / columns)), max(8, side // columns)
    centered = [_centered(meshes[number].to("cpu")) for number in range(len(names))]
    corners = [(number % columns * tile, number // columns * tile) for number in range(len(names))]
    boxes = np.array([[x, y + tile // 5, x + tile, y + tile] for x, y in corners]).reshape(-1, 4)
    images = []
    for frame in range(frames):
        turn = _about_y(2 * math.pi * frame / frames)
        canvas = np.full((rows * tile, columns * tile, 3), 255, np.uint8)
        for (x, y), mesh, color in zip(corners, centered, colors, strict=True):
            canvas[y : y + tile, x : x + tile] = _tile(mesh.with_vertices(mesh.vertices @ turn.T), color, tile)
        images.append(draw_labels(canvas, boxes, list(names), list(colors)))
    return images


def toward(direction: Tensor) -> Tensor:
    """The rotation ``(3, 3)`` that brings a direction to z and leaves what is vertical in the plane of y and z."""
    length = float(direction.norm())
    if length == 0 or float(direction[[0, 2]].norm()) < 1e-6 * length:
        return torch.eye(3, dtype=torch.float64)
    ahead = direction / length
    right = torch.linalg.cross(torch.tensor([0.0, 1, 0], dtype=torch.float64), ahead)
    right /= right.norm()
    return torch.stack((right, torch.linalg.cross(ahead, right), ahead))


def animated_gif(images: Sequence[np.ndarray], duration: int = _DURATION) -> bytes:
    """Images ``(H, W, 3)`` as a GIF that repeats forever.

    Args:
        images: one or more, of one size.
        duration: of each, in milliseconds.
    """
    first, *others = (Image.fromarray(image).quantize(256, dither=Image.Dither.NONE) for image in images)
    content = io.BytesIO()
    first.save(content, "GIF", save_all=True, append_images=others, duration=duration, loop=0)
    return content.getvalue()


def _centered(mesh: Meshes) -> Meshes:
    """The mesh in the unit sphere around the origin, the direction that it was seen along brought to z."""
    vertices = mesh.vertices.detach().double()
    if not len(vertices):
        return mesh.with_vertices(vertices)
    low, high = vertices.aminmax(dim=0)
    center = (low + high) / 2
    moved = (vertices - center) @ toward(center).T
    radius = float(moved.norm(dim=1).max())
    return mesh.with_vertices(moved / radius if radius > 0 else moved)


def _about_y(angle: float) -> Tensor:
    cosine, sine = math.cos(angle), math.sin(angle)
    return torch.tensor([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]], dtype=torch.float64)


def _tile(mesh: Meshes, color: Color, side: int) -> np.ndarray:
    """A mesh within the unit sphere, on white."""
    if not len(mesh.faces):
        return np.full((side, side, 3), 255, np.uint8)
    focal = _FILLED * side / 2 * math.sqrt(DISTANCE**2 - 1)  # the sphere is seen under the angle asin(1 / distance)
    camera = torch.tensor([[focal, 0, side / 2], [0, focal, side / 2], [0, 0, 1]])
    moved = mesh.with_vertices(mesh.vertices + mesh.vertices.new_tensor([0, 0, DISTANCE]))
    red, green, blue = color
    drawn = render(moved, camera, (side, side), [Material((red / 255, green / 255, blue / 255))])
    return drawn.image.permute(1, 2, 0).numpy()
