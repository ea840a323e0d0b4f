"""From the frustums of detected boxes to the camera frame, in which meshes are answered.

The unit of length is the distance z of each object's center, which an image does not tell. The object then reaches
from ``1 - e / 2`` to ``1 + e / 2``, where e is its extent along z.

R  regions of a batch
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.heads.context import Context, Regions
from detkit.heads.known_cameras import cameras_of
from detkit.ops.meshes import from_box_frustum
from detkit.structures import Detections, Meshes

MAX_EXTENT = 1.9
"""The near end of an object is at least 0.05 away from the camera, where its center is 1 away."""

Output = TypeVar("Output")


def output_of(so_far: Mapping[str, Any], kind: type[Output]) -> Output | None:
    """The output of this kind among those of the branches before; None where no branch has made one.

    Raises:
        InputError: two branches have made one.
    """
    names = [name for name, output in so_far.items() if isinstance(output, kind)]
    if len(names) > 1:
        raise InputError(
            f"branches {names[0]!r} and {names[1]!r} both predict {kind.__name__.lower()}, and a branch after them "
            "would use those of one; leave out one of the two"
        )
    return so_far[names[0]] if names else None


def depth_ranges(pixels: Tensor, regions: Regions, context: Context) -> Tensor:
    """The least and greatest z ``(R, 2)`` of the objects, where their centers are at 1.

    Args:
        pixels: ``(R,)``, the extent e times the focal length along y, in pixels of the network's frame.
        regions: the R detections.
        context: with the camera of each image.
    """
    focal = cameras_of(context)[regions.image_index, 1, 1]
    halves = (pixels / focal).clamp(max=MAX_EXTENT) / 2
    return torch.stack((1 - halves, 1 + halves), dim=1)


def with_meshes(
    detections: Sequence[Detections], meshes: Meshes, pixels: Tensor, regions: Regions, context: Context
) -> list[Detections]:
    """`detections` with `meshes` of the box-frustum frames of their regions, in the camera frame, and with its camera.

    Args:
        detections: of each image.
        meshes: of the R regions.
        pixels: as of `depth_ranges`.
        regions: of the detections, in the network's frame.
        context: with the camera of each image.
    """
    cameras = cameras_of(context)
    ranges = depth_ranges(pixels, regions, context)
    own_cameras = cameras[regions.image_index]
    vertices = from_box_frustum(meshes.vertices, meshes.vertex_counts, regions.boxes, own_cameras, ranges)
    moved = meshes.with_vertices(vertices)
    own = moved.split([len(one) for one in detections])
    back = [placement.inverse() for placement in context.batch.placements]
    kinds, device = Detections.kinds(), moved.vertices.device
    restored = zip(
        kinds["meshes"].batch_to_network(own, back, device),
        kinds["camera"].batch_to_network(list(cameras), back, device),
        strict=True,
    )
    return [replace(one, meshes=mesh, camera=camera) for one, (mesh, camera) in zip(detections, restored, strict=True)]
