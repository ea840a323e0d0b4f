"""Triangles as a camera sees them: three lines in the image for each, whose signs tell what is inside."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Integers = NDArray[np.int64]

_SLACK = 1e-6
"""In pixels: bounds are widened by more than their rounding, since each pixel in them is tested exactly."""


@dataclass(frozen=True)
class ProjectedFaces:
    """Triangles in the homogeneous coordinates of the image (Olano and Greer, "Triangle Scan Conversion using 2D
    Homogeneous Coordinates", 1997, section 4): vertices may lie behind the camera.

    Args:
        faces: ``(F,)``, the row of each triangle in the given faces; those that no pixel can show are left out.
        lines: ``(3, 3, F)``, the coefficients ``a, b, c`` of the line opposite each corner. At the pixel center
            ``(u, v)``, ``a u + b v + c`` is at least 0 for all three corners where the triangle is in front of the
            camera, and proportional to their barycentric coordinates.
        volumes: ``(F,)``, the sum of the three values times the depth z, the same at all pixels of a triangle.
        bounds: ``(4, F)`` the first and last column, and the first and last row of pixels.
    """

    faces: Integers
    lines: Floats
    volumes: Floats
    bounds: Integers

    def values_at(self, rows: Integers, x: Integers, y: Integers) -> Floats:
        """``(3, P)``, the values of the lines of the triangles `rows` ``(P,)`` at the centers of pixels ``(P,)``."""
        a, b, c = (self.lines[:, number, rows] for number in range(3))
        values: Floats = a * (x + 0.5) + (b * (y + 0.5) + c)
        return values


def project_faces(corners: Floats, camera: Floats, size: tuple[int, int], near: float) -> ProjectedFaces:
    """Triangles with the corners ``(F, 3, 3)`` in the camera frame, as an image of `size` shows them.

    The lines of two triangles at an edge that they share are each other's exact negatives.
    """
    points = np.ascontiguousarray(corners.transpose(2, 1, 0))  # (coordinate, corner, F)
    planes = np.stack([_cross(points[:, first], points[:, second]) for first, second in ((1, 2), (2, 0), (0, 1))], 1)
    volumes = points[0, 0] * planes[0, 0] + points[1, 0] * planes[1, 0] + points[2, 0] * planes[2, 0]
    bounds = _pixel_bounds(_image_bounds(points, camera, near), size)
    shown = (volumes != 0) & (bounds[0] <= bounds[1]) & (bounds[2] <= bounds[3])
    faces = np.flatnonzero(shown)
    planes, volumes = planes[:, :, faces] * np.sign(volumes[faces]), np.abs(volumes[faces])
    inverse = np.linalg.inv(camera)
    # Term by term: a matrix product may round the two sides of an edge differently.
    lines = np.stack([sum(planes[row] * inverse[row, column] for row in range(3)) for column in range(3)], axis=1)
    return ProjectedFaces(faces, lines, volumes, bounds[:, faces])


def owns_its_lines(a: Floats, b: Floats) -> NDArray[np.bool_]:
    """Whether pixel centers on a line belong to the triangle: at left edges, and at horizontal edges on top."""
    return (a > 0) | ((a == 0) & (b > 0))


def _cross(first: Floats, second: Floats) -> Floats:
    """``(3, F)``, the cross products of vectors ``(3, F)``."""
    (x1, y1, z1), (x2, y2, z2) = first, second
    return np.stack([y1 * z2 - z1 * y2, z1 * x2 - x1 * z2, x1 * y2 - y1 * x2])


def _image_bounds(points: Floats, camera: Floats, near: float) -> Floats:
    """``(4, F)``, the least and largest x, and y, in the image of the part of each triangle beyond `near`."""
    in_front = points[2] >= near
    bounds = _bounds_of(points, in_front, camera)
    cut = np.flatnonzero(in_front.any(axis=0) & ~in_front.all(axis=0))
    if len(cut):
        starts = points[:, :, cut]
        steps = np.roll(starts, -1, axis=1) - starts
        crosses = in_front[:, cut] != np.roll(in_front[:, cut], -1, axis=0)
        crossings = starts + (near - starts[2]) / np.where(crosses, steps[2], 1) * steps
        crossings[2] = near
        others = _bounds_of(crossings, crosses, camera)
        bounds[0::2, cut] = np.minimum(bounds[0::2, cut], others[0::2])
        bounds[1::2, cut] = np.maximum(bounds[1::2, cut], others[1::2])
    return bounds


def _bounds_of(points: Floats, counted: NDArray[np.bool_], camera: Floats) -> Floats:
    """The bounds ``(4, F)`` in the image of the points ``(3, 3, F)`` that count; inf and -inf where none does."""
    x, y, z = points
    depth = np.where(counted, z, 1)
    bounds = np.empty((4, points.shape[2]))
    for axis in range(2):
        image = (x * camera[axis, 0] + y * camera[axis, 1] + z * camera[axis, 2]) / depth
        bounds[2 * axis] = np.where(counted, image, np.inf).min(axis=0)
        bounds[2 * axis + 1] = np.where(counted, image, -np.inf).max(axis=0)
    return bounds


def _pixel_bounds(bounds: Floats, size: tuple[int, int]) -> Integers:
    """The first and last columns and rows ``(4, F)`` of pixels whose centers are in bounds, cut at the image."""
    height, width = size
    result = np.empty(bounds.shape, dtype=np.int64)
    for axis, side in enumerate((width, height)):
        first, last = bounds[2 * axis] - 0.5 - _SLACK, bounds[2 * axis + 1] - 0.5 + _SLACK
        result[2 * axis] = np.ceil(np.clip(first, 0, side))
        result[2 * axis + 1] = np.floor(np.clip(last, -1, side - 1))
    return result
