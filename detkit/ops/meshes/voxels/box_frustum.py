"""Between the camera's frame and the frustum of a box, in which networks predict voxels and meshes."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.ops.checks import check_floating, check_same_device, check_shape, geometry_dtype
from detkit.ops.meshes.packing import object_index

FARTHEST = 1000.0
"""Points behind infinity are put at this many times the far end of the depth range."""


def object_depth_ranges(points: Tensor, point_counts: Tensor) -> Tensor:
    """The least and the greatest z of each object's points.

    Args:
        points: x y z ``(V, 3)``, floating point, those of an object after another's.
        point_counts: points of each object ``(N,)`` int64, which sum to V.

    Returns:
        ``(N, 2)`` in at least float32, without gradient; 0 and 0 for an object without points. Does not wait for the
        device.

    Raises:
        InputError: shape, dtype or device does not fit.
    """
    check_shape("points", points, ("V", 3))
    check_shape("point_counts", point_counts, ("N",))
    check_floating("points", points)
    check_same_device(points=points, point_counts=point_counts)
    z = points[:, 2].detach().to(geometry_dtype(points))
    index, limits = object_index(point_counts, len(points)), z.new_zeros(2, len(point_counts))
    nearest = limits[0].scatter_reduce(0, index, z, "amin", include_self=False)
    return torch.stack([nearest, limits[1].scatter_reduce(0, index, z, "amax", include_self=False)], dim=1)


def check_depth_ranges(depth_ranges: Tensor, point_counts: Tensor, subject: Callable[[int], str]) -> None:
    """Refuse objects that are not in front of their camera or have no depth. Waits for the device once.

    Args:
        depth_ranges: of each object ``(N, 2)``, see `object_depth_ranges`.
        point_counts: points of each ``(N,)``, on the same device; an object without points is never wrong.
        subject: the words that begin the message about an object, by its number.

    Raises:
        InputError: the first object that is wrong.
    """
    near, far = depth_ranges.unbind(1)
    is_wrong = ((near <= 0) | (near >= far)) & (point_counts > 0)
    if not bool(is_wrong.any()):
        return
    number = int(is_wrong.nonzero()[0])
    least = float(near[number])
    if least <= 0:
        raise InputError(
            f"{subject(number)} begins at z = {least:g}, which is not in front of the camera; give it in the camera's "
            "frame, where z is the distance ahead"
        )
    raise InputError(f"{subject(number)} has no depth, all of it lies at z = {least:g}; give a shape that has depth")


def to_box_frustum(
    vertices: Tensor, vertex_counts: Tensor, boxes: Tensor, cameras: Tensor, depth_ranges: Tensor
) -> Tensor:
    """Turn points of the camera's frame into the frames of boxes' frustums.

    The frame of the voxels of Gkioxari et al., "Mesh R-CNN", 2019, section 3.2: x and y go from -1 to 1 across the box
    in the image, to the right and down; z goes from -1 to 1 through the depth range, linearly in ``1 / z``, so that
    planes stay planes.

    Args:
        vertices: x y z ``(V, 3)`` in the camera's frame (x right, y down, z away from it), floating point, those of an
            object after another's.
        vertex_counts: vertices of each object ``(N,)`` int64, which sum to V.
        boxes: x1 y1 x2 y2 of each object ``(N, 4)``, in pixels.
        cameras: intrinsic matrices ``(N, 3, 3)`` in pixels, of any focal lengths and skew; the last row is 0 0 1.
        depth_ranges: the z that become -1 and 1, ``(N, 2)``, positive; see `object_depth_ranges`.

    Returns:
        ``(V, 3)`` in at least float32, differentiable in all floating-point arguments. A point that is not in front
        of the camera (z at most 0) gives NaN, without gradient; so do a box without area and an empty depth range
        (NaN or infinite). Does not wait for the device.

    Raises:
        InputError: shape, dtype or device does not fit.
    """
    dtype = _check(vertices, vertex_counts, boxes, cameras, depth_ranges)
    index = object_index(vertex_counts, len(vertices))
    z0, z1 = depth_ranges.to(dtype)[index].unbind(1)
    z = vertices[:, 2].to(dtype)
    is_ahead = z > 0
    z = torch.where(is_ahead, z, 1.0)
    across = rays_across_boxes(vertices[:, :2].to(dtype) / z[:, None], boxes.to(dtype)[index], cameras.to(dtype)[index])
    depth = 2 * ((z - z0) * z1 / ((z1 - z0) * z)) - 1
    return torch.cat([across, depth[:, None]], dim=1).where(is_ahead[:, None], torch.nan)


def rays_across_boxes(rays: Tensor, boxes: Tensor, cameras: Tensor) -> Tensor:
    """Where rays of a camera's frame cross boxes in the image: from -1 to 1 across each, to the right and down.

    Args:
        rays: x / z and y / z ``(V, 2)``, floating point.
        boxes: x1 y1 x2 y2 ``(V, 4)`` of each, in pixels.
        cameras: ``(V, 3, 3)`` of each, as for `to_box_frustum`.

    Returns:
        ``(V, 2)``, differentiable.
    """
    low, high = boxes.view(-1, 2, 2).unbind(1)
    x, y, center = cameras[:, :2].unbind(2)
    # Not by a matrix product, which autocast would compute in half precision.
    pixels = x * rays[:, :1] + y * rays[:, 1:] + center
    return (2 * pixels - low - high) / (high - low)


def from_box_frustum(
    vertices: Tensor, vertex_counts: Tensor, boxes: Tensor, cameras: Tensor, depth_ranges: Tensor
) -> Tensor:
    """Turn points of boxes' frustum frames into the camera's frame: the inverse of `to_box_frustum`.

    Multiplying the depth ranges by a number multiplies the result by it.

    Args:
        vertices: x y z ``(V, 3)`` in the frames of their objects' boxes, floating point.
        vertex_counts: as for `to_box_frustum`, like the others.
        boxes: a box without area is allowed: its points lie on the rays through it.
        cameras: invertible; the result is NaN or infinite otherwise.
        depth_ranges: an empty one is allowed: all points have its z.

    Returns:
        ``(V, 3)`` in at least float32, differentiable in all floating-point arguments. Coordinates z of about
        ``(z1 + z0) / (z1 - z0)`` are infinitely far away, and greater ones behind: those points, and all beyond 1000
        z1, are put at 1000 z1, where z has no gradient. Does not wait for the device.

    Raises:
        InputError: shape, dtype or device does not fit.
    """
    dtype = _check(vertices, vertex_counts, boxes, cameras, depth_ranges)
    index = object_index(vertex_counts, len(vertices))
    low, high = boxes.to(dtype)[index].view(-1, 2, 2).unbind(1)
    camera, (z0, z1) = cameras.to(dtype)[index, :2], depth_ranges.to(dtype)[index].unbind(1)
    across, depth = vertices[:, :2].to(dtype), (vertices[:, 2].to(dtype) + 1) / 2
    z = z0 * z1 / (z1 - depth * (z1 - z0)).maximum(z0 / FARTHEST)
    # Two equations by Cramer's rule: torch.linalg.inv waits for a GPU.
    (a, b, _), (c, d, _) = camera[:, 0].unbind(1), camera[:, 1].unbind(1)
    u, v = ((low + high + across * (high - low)) / 2 - camera[..., 2]).unbind(1)
    scale = z / (a * d - b * c)
    return torch.stack([(d * u - b * v) * scale, (a * v - c * u) * scale, z], dim=1)


def _check(
    vertices: Tensor, vertex_counts: Tensor, boxes: Tensor, cameras: Tensor, depth_ranges: Tensor
) -> torch.dtype:
    """Raise InputError unless the arguments fit together; the dtype to compute in."""
    check_shape("vertices", vertices, ("V", 3))
    check_shape("vertex_counts", vertex_counts, ("N",))
    check_shape("boxes", boxes, (len(vertex_counts), 4))
    check_shape("cameras", cameras, (len(vertex_counts), 3, 3))
    check_shape("depth_ranges", depth_ranges, (len(vertex_counts), 2))
    tensors = {"vertices": vertices, "boxes": boxes, "cameras": cameras, "depth_ranges": depth_ranges}
    for name, tensor in tensors.items():
        check_floating(name, tensor)
    check_same_device(**tensors, vertex_counts=vertex_counts)
    return geometry_dtype(*tensors.values())
