"""How a `Shapes3D` image looks: colors, textures, lights, background, blur and noise."""

from __future__ import annotations

import cv2
import numpy as np
import torch

from detkit.data.shapes.backgrounds import plain_background
from detkit.data.shapes.scene import contrasting_color
from detkit.data.shapes3d.arrangement import Arrangement
from detkit.rendering import Light, Lighting, Material, render

_FULL = 255.0
_DARKEST = 70.0  # of red, green and blue: faces of a darker object look alike


def render_arrangement(
    random: np.random.Generator, arrangement: Arrangement, contrast: float, noise: float
) -> np.ndarray:
    """The image ``(H, W, 3)`` uint8 RGB of arranged objects.

    Args:
        random: generates colors, lights, background and noise.
        arrangement: the objects and the camera.
        contrast: least distance of an object's color from the background's mean in RGB space (0 to 441), and twice the
            least distance from another object's, both in white light.
        noise: largest standard deviation of the Gaussian noise in gray levels.
    """
    height, width = arrangement.masks.shape[1:]
    background, base = plain_background(random, height, width)
    colors: list[np.ndarray] = []
    materials = []
    for _ in range(len(arrangement.meshes)):
        colors.append(contrasting_color(random, base[None], colors, contrast, _DARKEST))
        materials.append(_random_material(random, colors[-1]))
    pixels = np.clip(background, 0, _FULL).astype(np.uint8)
    behind = torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))
    lighting = _random_lighting(random)
    rendering = render(arrangement.meshes, arrangement.camera, (height, width), materials, lighting, behind)
    image: np.ndarray = rendering.image.permute(1, 2, 0).numpy().astype(np.float32)
    if random.random() < 0.5:
        image = cv2.GaussianBlur(image, (0, 0), random.uniform(0.3, 0.8))
    image += random.standard_normal(image.shape, dtype=np.float32) * random.uniform(0, noise)
    return np.clip(image, 0, _FULL).round().astype(np.uint8)


def _random_material(random: np.random.Generator, color: np.ndarray) -> Material:
    red, green, blue = (color / _FULL).tolist()
    return Material(
        (red, green, blue),
        specular=random.uniform(0, 0.4),
        shininess=random.uniform(10, 60),
        noise=random.uniform(0, 0.25),
        noise_size=random.uniform(0.05, 0.2),
        noise_seed=int(random.integers(2**31)),
    )


def _random_lighting(random: np.random.Generator) -> Lighting:
    """A main light from above and the side of the camera, and a weaker one from anywhere before the objects."""
    main = Light((random.uniform(-1, 1), random.uniform(-1, -0.3), random.uniform(-1, -0.3)), _gray(random, 0.5, 0.7))
    weak = Light((random.uniform(-1, 1), random.uniform(-1, 1), random.uniform(-1, -0.1)), _gray(random, 0, 0.25))
    return Lighting(_gray(random, 0.25, 0.45), (main, weak))


def _gray(random: np.random.Generator, low: float, high: float) -> tuple[float, float, float]:
    value = random.uniform(low, high)
    return value, value, value
