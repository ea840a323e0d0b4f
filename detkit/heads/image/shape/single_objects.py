"""The targets of images with one object each: whose shape is annotated, and the shapes of all in one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

from detkit.errors import InputError
from detkit.heads.region.mesh.region_shapes import ShapeField
from detkit.structures import Meshes, PointClouds, Target

Shapes = TypeVar("Shapes", Meshes, PointClouds)


def rows_with(targets: Sequence[Target], field: ShapeField) -> list[int]:
    """The rows of the targets whose object has a shape: a `field` that is not empty.

    Raises:
        InputError: an image has several objects, or a mesh without faces; the message names it.
    """
    values = [getattr(target, field) for target in targets]
    for target, value in zip(targets, values, strict=True):
        if value is not None and len(value) > 1:
            raise InputError(
                f"image id {target.image_id!r} has the {field} of {len(value)} objects, but the model learns images of "
                "one: crop the objects, or train a MeshRCNN"
            )
        if isinstance(value, Meshes) and len(value.vertices) and not len(value.faces):
            raise InputError(
                f"image id {target.image_id!r}: its mesh has vertices but no faces, and so no surface to learn; repair "
                "it, or leave the image out"
            )
    return [row for row, value in enumerate(values) if value is not None and len(value) and _size_of(value)]


def joined(kind: type[Shapes], targets: Sequence[Target], field: ShapeField, rows: Sequence[int]) -> Shapes:
    """The `field` of the targets at `rows`, one object after the other."""
    return kind.cat([getattr(targets[row], field) for row in rows])


def _size_of(shapes: Meshes | PointClouds) -> int:
    return len(shapes.faces if isinstance(shapes, Meshes) else shapes.points)
