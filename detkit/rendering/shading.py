"""The colors of what a rasterizer shows: Lambert's diffuse and Blinn's specular reflection of distant lights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from detkit.errors import InputError
from detkit.rendering.projected_faces import Floats, Integers
from detkit.rendering.rasterizer import Fragments
from detkit.rendering.solid_noise import solid_noise
from detkit.structures import Meshes

Color = tuple[float, float, float]

_CREASE = np.cos(np.radians(30))
"""Of the angle between the normals of a face and of its vertex, beyond which it is flat there; at cubes it is 35."""


@dataclass(frozen=True)
class Material:
    """The surface of an object.

    Args:
        color: red, green and blue in [0, 1].
        specular: strength of highlights, 0 for a matte surface.
        shininess: exponent of highlights (Blinn, "Models of Light Reflection", 1977); the more, the smaller they are.
        noise: the largest change of the color by the texture, as a share of it.
        noise_size: length of the texture's grains, in units of the meshes.
        noise_seed: of the texture, which is fixed in the camera frame.
    """

    color: Color = (0.7, 0.7, 0.7)
    specular: float = 0.0
    shininess: float = 30.0
    noise: float = 0.0
    noise_size: float = 0.1
    noise_seed: int = 0

    def __post_init__(self) -> None:
        if len(self.color) != 3 or not all(0 <= value <= 1 for value in self.color):
            raise InputError(f"rendering: the color {self.color} is not red, green and blue in 0 to 1")
        for name in ("specular", "noise"):
            if not getattr(self, name) >= 0:
                raise InputError(f"rendering: a material's {name} is {getattr(self, name)}; give 0 or more")
        for name in ("shininess", "noise_size"):
            if not getattr(self, name) > 0:
                raise InputError(f"rendering: a material's {name} is {getattr(self, name)}; give more than 0")


@dataclass(frozen=True)
class Light:
    """A distant light.

    Args:
        direction: from the scene to the light, in the camera frame: ``(0, 0, -1)`` shines from the camera.
        color: its red, green and blue intensity, 1 for a white surface that faces it to be white.
    """

    direction: tuple[float, float, float] = (-0.4, -0.7, -0.6)
    color: Color = (0.7, 0.7, 0.7)

    def __post_init__(self) -> None:
        if not 0 < np.linalg.norm(self.direction) < np.inf:
            raise InputError(f"rendering: a light has the direction {self.direction}; give a vector towards the light")


@dataclass(frozen=True)
class Lighting:
    """All light of a scene.

    Args:
        ambient: red, green and blue intensity of the light from everywhere.
        lights: distant lights; they cast no shadows.
    """

    ambient: Color = (0.35, 0.35, 0.35)
    lights: Sequence[Light] = (Light(),)


def shade(fragments: Fragments, meshes: Meshes, materials: Sequence[Material], lighting: Lighting) -> Floats:
    """The colors ``(3, P)`` of covered pixels, 1 for white; highlights may exceed it.

    Faces are shaded smoothly, but not over sharp edges. Both sides of a face are lit as the one that the camera sees.
    """
    faces = meshes.faces.cpu().numpy()
    positions = fragments.interpolated(meshes.vertices.detach().double().cpu().numpy(), faces)
    view = _unit(-positions)
    normals = _normals(fragments, meshes, faces)
    normals *= np.where(_dot(normals, view) < 0, -1.0, 1.0)
    diffuse, highlights = np.zeros_like(normals) + _column(lighting.ambient), np.zeros_like(normals)
    specular = _per_pixel(fragments, [material.specular for material in materials])
    shininess = _per_pixel(fragments, [material.shininess for material in materials])
    for light in lighting.lights:
        direction = _unit(_column(light.direction))
        facing = np.maximum(_dot(normals, direction), 0)
        diffuse += facing * _column(light.color)
        if specular.any():
            aligned = np.maximum(_dot(normals, _unit(view + direction)), 0)
            highlights += np.where(facing > 0, specular * aligned**shininess, 0) * _column(light.color)
    return _albedo(fragments, positions, materials) * diffuse + highlights


def _normals(fragments: Fragments, meshes: Meshes, faces: Integers) -> Floats:
    """Unit normals ``(3, P)``, interpolated between those of the vertices, or of the face at sharp edges."""
    of_faces, of_vertices = (
        np.ascontiguousarray(normals.detach().double().cpu().numpy().T)
        for normals in (meshes.face_normals(), meshes.vertex_normals())
    )
    flat = of_faces[:, fragments.faces]
    smooth = np.zeros_like(flat)
    for corner, weight in zip(faces[fragments.faces].T, fragments.barycentrics, strict=True):
        normals = of_vertices[:, corner]
        smooth += np.where(_dot(normals, flat) >= _CREASE, normals, flat) * weight
    return _unit(smooth)


def _albedo(fragments: Fragments, positions: Floats, materials: Sequence[Material]) -> Floats:
    """The colors ``(3, P)`` of the surfaces in white light."""
    albedo = np.array([material.color for material in materials], dtype=np.float64).T[:, fragments.objects]
    for number, material in enumerate(materials):
        if material.noise:
            own = np.flatnonzero(fragments.objects == number)
            noise = solid_noise(positions[:, own] / material.noise_size, material.noise_seed)
            albedo[:, own] = np.clip(albedo[:, own] * (1 + material.noise * noise), 0, 1)
    return albedo


def _per_pixel(fragments: Fragments, values: Sequence[float]) -> Floats:
    """``(P,)``, the value of the object of each pixel."""
    return np.array(values, dtype=np.float64)[fragments.objects]


def _column(values: Sequence[float]) -> Floats:
    return np.array(values, dtype=np.float64)[:, None]


def _dot(first: Floats, second: Floats) -> Floats:
    return first[0] * second[0] + first[1] * second[1] + first[2] * second[2]


def _unit(vectors: Floats) -> Floats:
    return vectors / np.maximum(np.sqrt(_dot(vectors, vectors)), 1e-30)
