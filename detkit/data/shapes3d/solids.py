"""The solids of `Shapes3D`: closed meshes of random proportions, their faces counterclockwise seen from outside.

The frame of a solid is that of mesh files: x right, y up, z toward the viewer.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from detkit.errors import InputError
from detkit.files import visible
from detkit.mesh_files import MESH_SUFFIXES, read_mesh
from detkit.structures.meshes import have_inside, icosphere

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]
Surface = tuple[Floats, Integers]

_SIDES = 32  # of round solids
_TUBE = 16  # sides of a torus' tube


@dataclass(frozen=True)
class Solid:
    """A class of `Shapes3D`.

    Args:
        name: of the class.
        draw: gives vertices ``(V, 3)`` and faces ``(F, 3)`` of one of random proportions.
        open_file: the mesh file that it is from, if that has no inside: it is not closed, or not turned alike.
    """

    name: str
    draw: Callable[[np.random.Generator], Surface]
    open_file: Path | None = None

    def drawn(self, random: np.random.Generator) -> Surface:
        """One of random proportions: its bounding box around the origin, its farthest vertex at distance 1."""
        vertices, faces = self.draw(random)
        vertices = vertices - (vertices.min(axis=0) + vertices.max(axis=0)) / 2
        return vertices / np.sqrt((vertices * vertices).sum(axis=1).max()), faces


def box(random: np.random.Generator) -> Surface:
    """A cuboid."""
    square = np.array([[-1.0, -1], [1, -1], [1, 1], [-1, 1]])
    return _scaled(extruded(square), random.uniform(0.5, 1, 3))


def ellipsoid(random: np.random.Generator) -> Surface:
    """A sphere with three axes of different lengths."""
    vertices, faces = _sphere()
    return _scaled((vertices, faces), random.uniform(0.6, 1, 3))


def cylinder(random: np.random.Generator) -> Surface:
    """A circular cylinder."""
    height = random.uniform(0.5, 1.6)
    return revolved(np.array([[0, -height], [1, -height], [1, height], [0, height]]), _SIDES)


def cone(random: np.random.Generator) -> Surface:
    """A circular cone that stands on its base."""
    return revolved(np.array([[0.0, 0], [1, 0], [0, random.uniform(1.2, 2.5)]]), _SIDES)


def torus(random: np.random.Generator) -> Surface:
    """A lying ring."""
    angles = np.arange(_TUBE) * 2 * np.pi / _TUBE
    tube = random.uniform(0.25, 0.5)
    return revolved(np.stack([1 + tube * np.cos(angles), tube * np.sin(angles)], axis=1), _SIDES, is_loop=True)


def pyramid(random: np.random.Generator) -> Surface:
    """A pyramid on a rectangle."""
    surface = revolved(np.array([[0.0, 0], [1, 0], [0, random.uniform(1, 2)]]), 4)
    turn = np.array([[1.0, 0, 1], [0, np.sqrt(2), 0], [-1, 0, 1]]) / np.sqrt(2)  # its sides along x and z
    return _scaled((surface[0] @ turn, surface[1]), np.array([random.uniform(0.6, 1), 1, 1]))


def wedge(random: np.random.Generator) -> Surface:
    """A ramp: a right triangle along z."""
    return _scaled(extruded(np.array([[-1.0, -1], [1, -1], [-1, 1]])), random.uniform((0.8, 0.5, 0.4), (1, 0.9, 1)))


def bracket(random: np.random.Generator) -> Surface:
    """An L along z."""
    x, y = random.uniform(-0.6, -0.1, 2)
    outline = np.array([[x, y], [x, 1], [-1, 1], [-1, -1], [1, -1], [1, y]])  # which all is seen from its first corner
    return _scaled(extruded(outline), random.uniform((0.8, 0.8, 0.3), 1))


SOLIDS = (
    Solid("box", box),
    Solid("ellipsoid", ellipsoid),
    Solid("cylinder", cylinder),
    Solid("cone", cone),
    Solid("torus", torus),
    Solid("pyramid", pyramid),
    Solid("wedge", wedge),
    Solid("bracket", bracket),
)
"""The solids that detkit makes itself."""

SOLID_NAMES = tuple(solid.name for solid in SOLIDS)


def solids_of_folder(folder: str | Path) -> list[Solid]:
    """The mesh files of a folder as classes, named by their stems, sorted by these.

    Raises:
        InputError: there are no mesh files, two have one stem, or one cannot be read or has no faces or no extent.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise InputError(f"{folder}: there is no such folder; give one of mesh files ({', '.join(MESH_SUFFIXES)})")
    paths = [path for path in visible(folder.iterdir()) if path.suffix.lower() in MESH_SUFFIXES]
    if not paths:
        raise InputError(f"{folder}: this folder has no mesh files; give one with {', '.join(MESH_SUFFIXES)} files")
    stems = [path.stem for path in paths]
    for stem in stems:
        if stems.count(stem) > 1:
            raise InputError(f"{folder}: several mesh files are named {stem}, and each is a class; rename all but one")
    return sorted(map(_of_file, paths), key=lambda solid: solid.name)


@dataclass(frozen=True, eq=False)
class _Fixed:
    """A mesh without random proportions."""

    vertices: Floats
    faces: Integers

    def __call__(self, random: np.random.Generator) -> Surface:
        return self.vertices, self.faces


def _of_file(path: Path) -> Solid:
    meshes = read_mesh(path)
    vertices, faces = meshes.vertices.double().numpy(), meshes.faces.numpy()
    if not len(faces) or not np.ptp(vertices, axis=0).any():
        raise InputError(f"{path}: this mesh has no faces, or all of its vertices are one point; remove the file")
    return Solid(path.stem, _Fixed(vertices, faces), None if have_inside(meshes) else path)


def extruded(outline: Floats) -> Surface:
    """The prism between z -1 and 1 over an outline ``(N, 2)``, counterclockwise, all seen from its first corner."""
    count = len(outline)
    front, back = (np.column_stack([outline, np.full(count, z)]) for z in (1.0, -1.0))
    corners, following = np.arange(count), np.roll(np.arange(count), -1)
    fan = np.stack([np.zeros(count - 2, dtype=np.int64), corners[1:-1], corners[2:]], axis=1)
    sides = _quads(corners + count, following + count, following, corners)
    return np.concatenate([front, back]), np.concatenate([fan, fan[:, ::-1] + count, sides])


def revolved(profile: Floats, sides: int, is_loop: bool = False) -> Surface:
    """The solid that a profile ``(N, 2)``, distance from the y axis and height, encloses when turned around that.

    Args:
        profile: counterclockwise, from the axis to the axis, or a loop off it.
        sides: the number of steps of the turn.
        is_loop: whether its last point joins its first.
    """
    angles = np.arange(sides) * 2 * np.pi / sides
    around = np.stack([np.cos(angles), -np.sin(angles)])
    inner = profile if is_loop else profile[1:-1]
    rings = np.empty((len(inner), sides, 3))
    rings[:, :, 0], rings[:, :, 2] = inner[:, :1] * around[0], inner[:, :1] * around[1]
    rings[:, :, 1] = inner[:, 1:]
    numbers = np.arange(rings.shape[0] * sides).reshape(-1, sides)
    turned = np.roll(numbers, -1, axis=1)
    upper = np.roll(numbers, -1, axis=0), np.roll(turned, -1, axis=0)
    steps = slice(None) if is_loop else slice(-1)
    faces = [_quads(*(part[steps].ravel() for part in (numbers, turned, upper[1], upper[0])))]
    vertices = [rings.reshape(-1, 3)]
    if not is_loop:
        bottom, top = numbers.size, numbers.size + 1
        vertices.append(np.array([[0, profile[0, 1], 0], [0, profile[-1, 1], 0]]))
        faces.append(np.stack([turned[0], numbers[0], np.full(sides, bottom)], axis=1))
        faces.append(np.stack([numbers[-1], turned[-1], np.full(sides, top)], axis=1))
    return np.concatenate(vertices), np.concatenate(faces)


def _quads(first: Integers, second: Integers, third: Integers, fourth: Integers) -> Integers:
    """Two triangles for each quadrilateral."""
    return np.concatenate([np.stack([first, second, third], axis=1), np.stack([first, third, fourth], axis=1)])


def _scaled(surface: Surface, factors: Floats) -> Surface:
    return surface[0] * factors, surface[1]


@functools.cache
def _sphere() -> Surface:
    sphere = icosphere(3)
    return sphere.vertices.double().numpy(), sphere.faces.numpy()
