"""Where the objects of a `Shapes3D` image stand, and what the camera sees of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from detkit.data.shapes3d.solids import Floats, Solid
from detkit.errors import InputError
from detkit.rendering import rasterize
from detkit.structures import Meshes

_FIELD_OF_VIEW = (35.0, 55.0)  # degrees, of the longer side
_OFF_CENTER = 0.05  # of the image's side, the farthest that the principal point is from the middle
_PITCH = (10.0, 40.0)  # degrees that the camera looks down
_RADIUS = (0.5, 1.0)  # of the objects, in units of length
_ATTEMPTS = 30
_SHRINKS = 0.95  # at each attempt, so that the last one fits anywhere
_FEWEST_PIXELS = 16


@dataclass(frozen=True)
class ArrangementOptions:
    """How objects are arranged; see `Shapes3D`.

    Raises:
        InputError: an option is out of range.
    """

    max_objects: int
    object_size: tuple[float, float]
    centered: bool
    upright: bool
    min_visible: float

    def __post_init__(self) -> None:
        if self.max_objects < 1 or (self.centered and self.max_objects > 1):
            least = "1, as objects are centered" if self.centered else "at least 1"
            raise InputError(f"Shapes3D: max_objects must be {least}, got {self.max_objects}")
        low, high = self.object_size
        if not 0.2 <= low <= high <= 1:
            raise InputError(f"Shapes3D: object_size must be (low, high) with 0.2 <= low <= high <= 1, got {low, high}")
        if not 0 <= self.min_visible <= 1:
            raise InputError(f"Shapes3D: min_visible must be between 0 and 1, got {self.min_visible}")


@dataclass(frozen=True, eq=False)
class Arrangement:
    """Objects before a camera.

    Args:
        camera: ``(3, 3)`` float32, the intrinsic matrix in pixels.
        meshes: of N objects, at least one, in the camera frame.
        labels: ``(N,)`` int64.
        masks: ``(N, H, W)`` bool, the visible pixels, at least one of each.
    """

    camera: Tensor
    meshes: Meshes
    labels: Tensor
    masks: Tensor

    def boxes(self) -> Tensor:
        """``(N, 4)`` float32, of the visible pixels."""
        sides = []
        for axis in (1, 2):
            covered = self.masks.any(dim=axis).int()
            sides.append((covered.argmax(dim=1), covered.shape[1] - covered.flip(1).argmax(dim=1)))
        (x1, x2), (y1, y2) = sides
        return torch.stack([x1, y1, x2, y2], dim=1).float()


def arrange(
    random: np.random.Generator, size: tuple[int, int], solids: Sequence[Solid], options: ArrangementOptions
) -> Arrangement:
    """Draw 1 to `max_objects` objects in an image of `size`.

    An object is drawn anew where it leaves the image, touches another, or leaves too little of one visible; after some
    attempts it is given up.
    """
    camera = _random_camera(random, size)
    pitch = np.radians(random.uniform(*_PITCH))
    scene = _Scene(camera, size, options.min_visible)
    for _ in range(int(random.integers(1, options.max_objects + 1))):
        label = int(random.integers(len(solids)))
        for attempt in range(_ATTEMPTS):
            vertices, faces = solids[label].drawn(random)
            rotation = _random_rotation(random, pitch, options.upright)
            radius = random.uniform(*_RADIUS)
            center = _random_center(random, size, camera, radius, options, _SHRINKS**attempt)
            points = (vertices @ rotation.T * radius + center).astype(np.float32)
            if scene.add(label, points, faces, center, radius):
                break
    return scene.arrangement()


class _Scene:
    """The objects that are placed already."""

    def __init__(self, camera: Floats, size: tuple[int, int], min_visible: float) -> None:
        self.camera = torch.from_numpy(camera.astype(np.float32))
        self.size = size
        self.min_visible = min_visible
        self.labels: list[int] = []
        self.meshes: list[Meshes] = []
        self.spheres: list[tuple[Floats, float]] = []
        self.depths: list[Floats] = []

    def add(self, label: int, points: np.ndarray, faces: np.ndarray, center: Floats, radius: float) -> bool:
        """Whether the object fits, which is then added."""
        if any(np.linalg.norm(center - other) < radius + reach for other, reach in self.spheres):
            return False
        if not self._is_inside(points.astype(np.float64)):
            return False
        meshes = Meshes([torch.from_numpy(points)], [torch.from_numpy(faces)])
        fragments = rasterize(meshes, self.camera, self.size)
        depth = np.full(self.size[0] * self.size[1], np.inf)
        depth[fragments.pixels] = fragments.depth
        depths = [*self.depths, depth]
        for own, seen in zip(depths, _visible(depths), strict=True):
            if seen.sum() < max(self.min_visible * np.isfinite(own).sum(), _FEWEST_PIXELS):
                return False
        self.depths = depths
        self.labels.append(label)
        self.meshes.append(meshes)
        self.spheres.append((center, radius))
        return True

    def arrangement(self) -> Arrangement:
        masks = torch.from_numpy(np.stack(_visible(self.depths)).reshape(-1, *self.size))
        return Arrangement(self.camera, Meshes.cat(self.meshes), torch.tensor(self.labels), masks)

    def _is_inside(self, points: Floats) -> bool:
        """Whether all vertices are before the camera and in the image."""
        if points[:, 2].min() <= 0:
            return False
        image = points @ self.camera.double().numpy().T
        image = image[:, :2] / image[:, 2:]
        return bool((image >= 0).all() and (image <= (self.size[1], self.size[0])).all())


def _visible(depths: Sequence[Floats]) -> list[np.ndarray]:
    """Per object its visible pixels ``(H * W,)`` bool; of two at one depth the first is seen."""
    nearest = np.min(depths, axis=0)
    front = np.argmin(depths, axis=0)
    return [(front == number) & np.isfinite(nearest) for number in range(len(depths))]


def _random_camera(random: np.random.Generator, size: tuple[int, int]) -> Floats:
    height, width = size
    focal = max(size) / 2 / np.tan(np.radians(random.uniform(*_FIELD_OF_VIEW)) / 2)
    x, y = (side * (0.5 + random.uniform(-_OFF_CENTER, _OFF_CENTER)) for side in (width, height))
    return np.array([[focal, 0, x], [0, focal, y], [0, 0, 1]])


def _random_rotation(random: np.random.Generator, pitch: float, upright: bool) -> Floats:
    """From the frame of solids to directions of the camera frame: turned about the vertical, or in any way."""
    if upright:
        yaw = random.uniform(0, 2 * np.pi)
        sine, cosine = np.sin(yaw), np.cos(yaw)
        turn = np.array([[cosine, 0, sine], [0, 1, 0], [-sine, 0, cosine]])
    else:
        w, x, y, z = _unit(random.normal(size=4))
        turn = np.array([
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ])  # fmt: skip
    sine, cosine = np.sin(pitch), np.cos(pitch)
    down = np.array([[1, 0, 0], [0, -cosine, sine], [0, -sine, -cosine]])
    return down @ turn


def _random_center(
    random: np.random.Generator,
    size: tuple[int, int],
    camera: Floats,
    radius: float,
    options: ArrangementOptions,
    shrinks: float,
) -> Floats:
    """The center of a sphere that appears in a random size."""
    height, width = size
    diameter = random.uniform(*options.object_size) * min(size) * shrinks
    x, y = width / 2, height / 2
    if not options.centered:
        x, y = random.uniform(diameter / 2, width - diameter / 2), random.uniform(diameter / 2, height - diameter / 2)
    depth = radius * np.sqrt(1 + (2 * camera[0, 0] / diameter) ** 2)  # in the middle, its outline has this diameter
    return depth * np.array([(x - camera[0, 2]) / camera[0, 0], (y - camera[1, 2]) / camera[1, 1], 1])


def _unit(vector: Floats) -> Floats:
    return vector / np.sqrt((vector * vector).sum())
