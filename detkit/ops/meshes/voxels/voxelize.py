"""Which cells of a grid lie inside closed meshes, or hold points.

The grid is that of `cubify`: cell ``i`` of W spans ``2 i / (W - 1) - 1`` to ``2 (i + 1) / (W - 1) - 1``, so its center
is ``2 (i + 0.5) / (W - 1) - 1``, and the last cell begins at 1.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.ops.checks import as_geometry, check_floating, check_same_device, check_shape
from detkit.ops.meshes.packing import corners_of, members, object_index

BLOCK = 2**18
"""Rows of cells that triangles cross, and cells among them, that are held at once."""


class OpenSurfaceError(InputError):
    """A mesh has no inside."""


@torch.no_grad()
def voxelize(vertices: Tensor, faces: Tensor, face_counts: Tensor, size: tuple[int, int, int]) -> Tensor:
    """Mark the cells whose center lies inside a closed mesh: where its surface winds around the center.

    A cell in nested or overlapping shells of one object is inside unless their windings sum to 0: a shell that is
    turned outside in, within another, bounds a cavity. Reversing all faces of an object changes nothing. A center on
    the surface belongs to the side of greater x, y and z, so solids that touch share no cell.

    The columns of cells along z are intersected with the triangles by scanlines. Both triangles of an edge compute the
    same crossing of it, and a column is on one side of the crossing, so no column slips between them. Waits for the
    device a few times; memory grows with cells and faces, not with their product.

    Args:
        vertices: x y z ``(V, 3)``, floating point, in the frame of the grid; they may lie outside of it.
        faces: rows of `vertices` ``(F, 3)`` int64, those of an object after another's, all counterclockwise, or all
            clockwise, seen from outside. Vertices need not be merged.
        face_counts: faces of each object ``(N,)`` int64, which sum to F.
        size: D, H and W, at least 2 each.

    Returns:
        ``(N, D, H, W)`` bool, where x goes along W, y along H and z along D. An object without faces, or outside the
        grid, has no cell.

    Raises:
        InputError: shape, dtype, device or size does not fit, or an object's coordinate is not finite; on the CPU, a
            face names no vertex, or the counts do not sum to F.
        OpenSurfaceError: a column of cells enters an object and does not leave it: its faces are no closed surface, or
            are not turned alike.
    """
    check_shape("vertices", vertices, ("V", 3))
    check_shape("faces", faces, ("F", 3))
    check_shape("face_counts", face_counts, ("N",))
    check_floating("vertices", vertices)
    check_same_device(vertices=vertices, faces=faces, face_counts=face_counts)
    depth, height, width = _checked(size)
    vertices = in_cells(vertices, size) - 0.5  # centers of cells are whole numbers
    index = object_index(face_counts, len(faces))
    _check_finite(vertices, faces, index)
    # One layer more than the grid: of what is entered or left behind it.
    winding = torch.zeros(len(face_counts), depth + 1, height, width, dtype=torch.int32, device=vertices.device)
    for face, row, column, z, sign in _crossings(vertices, faces, height, width):
        layer = z.ceil().clamp(0, depth).long()
        cell = ((index[face] * (depth + 1) + layer) * height + row) * width + column
        winding.view(-1).index_add_(0, cell, sign)
    winding = winding.cumsum_(1)
    is_open = winding[:, depth].flatten(1).any(1)
    if bool(is_open.any()):
        raise OpenSurfaceError(
            f"mesh {int(is_open.nonzero()[0])}: its faces are no closed surface, or are not all turned alike, so it "
            "has no inside; repair it, or give the object's voxels"
        )
    return winding[:, :depth] != 0


@torch.no_grad()
def voxelize_points(points: Tensor, point_counts: Tensor, size: tuple[int, int, int]) -> Tensor:
    """Mark the cells that hold a point, such as the centers of the occupied cells of a finer grid.

    Args:
        points: x y z ``(P, 3)``, floating point, in the frame of the grid, those of an object after another's. A point
            outside the grid marks no cell, nor does NaN.
        point_counts: points of each object ``(N,)`` int64, which sum to P.
        size: D, H and W, at least 2 each.

    Returns:
        ``(N, D, H, W)`` bool, where x goes along W, y along H and z along D. A point between cells is in the one of
        greater x, y and z. Does not wait for the device.

    Raises:
        InputError: shape, dtype, device or size does not fit; on the CPU, the counts do not sum to P.
    """
    check_shape("points", points, ("P", 3))
    check_shape("point_counts", point_counts, ("N",))
    check_floating("points", points)
    check_same_device(points=points, point_counts=point_counts)
    depth, height, width = _checked(size)
    points = in_cells(points, size)
    is_inside = ((points >= 0) & (points < points.new_tensor([width, height, depth]))).all(1)
    x, y, z = points.where(is_inside[:, None], 0.0).long().unbind(1)
    cell = ((object_index(point_counts, len(points)) * depth + z) * height + y) * width + x
    number = len(point_counts) * depth * height * width
    occupied = torch.zeros(number + 1, dtype=torch.bool, device=points.device)  # the last: of points outside
    return occupied.index_fill_(0, cell.where(is_inside, number), True)[:number].view(-1, depth, height, width)


def in_cells(points: Tensor, size: tuple[int, int, int]) -> Tensor:
    """Coordinates x y z in cells, counted from the start of the first one, in at least float32."""
    depth, height, width = size
    points = as_geometry(points)
    return (points + 1) * (points.new_tensor([width - 1, height - 1, depth - 1]) / 2)


def _crossings(vertices: Tensor, faces: Tensor, height: int, width: int) -> Iterator[tuple[Tensor, ...]]:
    """Where the columns at whole x and y pass through faces, in blocks: face, row, column, z, and 1 or -1 for its side.

    A line of constant y crosses two sides of a triangle, which meet in the corner that lies alone on one side of it.
    """
    corners = corners_of(vertices, faces)
    first = corners[..., 1].amin(1).ceil().clamp(0, height).long()
    rows = corners[..., 1].amax(1).ceil().clamp(0, height).long() - first
    corners = corners.view(-1, 3)
    for face, row in members(rows, BLOCK):
        row = row + first[face]
        y = row.to(vertices.dtype)
        below = corners[:, 1].view(-1, 3)[face] <= y[:, None]
        is_lower = below.sum(1) == 1  # the corner that is alone lies below the line
        alone = (below == is_lower[:, None]).int().argmax(1)
        corner, left, right = (corners[face * 3 + (alone + step) % 3] for step in range(3))
        one, two = _on_side(corner, left, is_lower, y), _on_side(corner, right, is_lower, y)
        is_rightward = one[:, 0] < two[:, 0]
        sign = torch.where(is_rightward == is_lower, 1, -1).int()
        # From the left, so that faces on one another round alike, whichever way they are turned.
        x1, z1 = torch.where(is_rightward[:, None], one, two).unbind(1)
        x2, z2 = torch.where(is_rightward[:, None], two, one).unbind(1)
        begin = x1.ceil().clamp(0, width).long()
        columns = x2.ceil().clamp(0, width).long() - begin
        for item, column in members(columns, BLOCK):
            column = column + begin[item]
            share = (column - x1[item]) / (x2 - x1)[item]
            yield face[item], row[item], column, z1[item] + share * (z2 - z1)[item], sign[item]


def _on_side(corner: Tensor, other: Tensor, is_lower: Tensor, y: Tensor) -> Tensor:
    """The x and z ``(S, 2)`` at which the sides between the corners ``(S, 3)`` have these `y`.

    From the lower corner to the upper one, so that the two triangles of a side round alike.
    """
    low, high = torch.where(is_lower[:, None], corner, other), torch.where(is_lower[:, None], other, corner)
    share = (y - low[:, 1]) / (high[:, 1] - low[:, 1])
    return (low + share[:, None] * (high - low))[:, ::2]


def _checked(size: tuple[int, int, int]) -> tuple[int, int, int]:
    if len(size) != 3 or min(size) < 2:
        raise InputError(f"size must be D, H and W of at least 2 each, got {tuple(size)}")
    return size


def _check_finite(vertices: Tensor, faces: Tensor, index: Tensor) -> None:
    """Raise InputError if an object has a corner that is not finite; waits for the device."""
    is_wrong = ~(2 * vertices).isfinite().all(1)  # doubled: the difference of two must be finite too
    if bool(is_wrong.any()) and bool((is_wrong := is_wrong[faces].any(1)).any()):
        raise InputError(
            f"mesh {int(index[is_wrong][0])}: a vertex has a coordinate that is NaN or infinite; remove it"
        )
