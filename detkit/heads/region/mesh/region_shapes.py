"""The true shapes of the objects that regions are matched with, and the cameras that see them.

R  regions of a batch     S  regions among them whose object has a shape     T  objects of a batch
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.heads.context import Context, Regions
from detkit.heads.known_cameras import cameras_of
from detkit.ops.meshes import check_depth_ranges, object_depth_ranges
from detkit.ops.meshes.voxels.voxelize import OpenSurfaceError
from detkit.structures import Meshes, PointClouds, Target
from detkit.structures.device_transfer import to_device

ShapeField = Literal["meshes", "voxels"]
"""The field of `Target` that holds the shapes: surfaces, or the centers of occupied cells."""

_SETTING = ", and set voxel_head.init_args.truth: voxels"


@dataclass(frozen=True, eq=False)
class RegionShapes:
    """The shapes of sampled regions, in the camera frame. Regions whose object has none are left out.

    Args:
        rows: ``(S,)`` int64 on the CPU, ascending, the regions; None: all of them.
        boxes: ``(S, 4)`` in the network's frame.
        cameras: ``(S, 3, 3)``, which see the network's frame.
        shapes: `Meshes` or `PointClouds` of S objects; one that several regions are matched with repeats.
        depth_ranges: ``(S, 2)``, the least and the greatest z of each.
        objects: ``(S,)`` int64 on the host, the object of each among those of the batch.
        targets: of the images of the batch.
    """

    rows: Tensor | None
    boxes: Tensor
    cameras: Tensor
    shapes: Any
    depth_ranges: Tensor
    objects: np.ndarray
    targets: Sequence[Target]

    def __len__(self) -> int:
        return len(self.boxes)

    def select(self, values: Tensor) -> Tensor:
        """Of `values` ``(R, …)`` of all regions those of the regions that have shapes, ``(S, …)``."""
        return values if self.rows is None else values[to_device(self.rows, values.device)]

    def name(self, row: int) -> str:
        """The object of the region at `row` in messages."""
        return _object_name(self.targets, int(self.objects[row]))


_KNOWN: WeakKeyDictionary[Context, WeakKeyDictionary[Regions, dict[ShapeField, RegionShapes]]] = WeakKeyDictionary()
"""Those of the regions of a batch that several branches ask for; it keeps neither alive."""


def region_shapes(regions: Regions, context: Context, field: ShapeField) -> RegionShapes:
    """The shapes of the objects of sampled `regions`; computed once, waiting for the device twice.

    Args:
        regions: sampled.
        context: with targets, and the camera of each image.
        field: of the targets.

    Raises:
        InputError: an image has no camera, or a shape is not in front of it, has no depth or no faces.
    """
    known = _KNOWN.setdefault(context, WeakKeyDictionary()).setdefault(regions, {})
    if field not in known:
        known[field] = _read(regions, context, field)
    return known[field]


def error_of_object(name: str, error: InputError) -> InputError:
    """An error of an operator about its only mesh, which is to be called `name`."""
    advice = _SETTING if isinstance(error, OpenSurfaceError) else ""
    return InputError(f"{name}: {str(error).removeprefix('mesh 0: ')}{advice}")


class _Shapes(NamedTuple):
    """The shapes of all objects of a batch.

    Args:
        packed: of the objects in images whose shapes are annotated.
        points: ``(P, 3)``, the vertices of these.
        counts: of the points of each, on the CPU.
        rows: ``(T,)`` on the host, where the shape of each object is in `packed`; -1 for one that has none.
    """

    packed: Any
    points: Tensor
    counts: Tensor
    rows: np.ndarray


def _read(regions: Regions, context: Context, field: ShapeField) -> RegionShapes:
    known, device = _shapes(context, field), regions.boxes.device
    _, matched = regions.sampled()
    objects = matched.cpu().numpy()
    counts = to_device(known.counts, device)
    ranges = object_depth_ranges(known.points, counts)
    _check_faces(known, context)
    check_depth_ranges(ranges, counts, lambda row: f"{_name(known, row, context)}: its shape")
    is_known = known.rows[objects] >= 0 if len(known.rows) else np.zeros(len(objects), dtype=bool)
    rows = None if is_known.all() else torch.from_numpy(np.flatnonzero(is_known))
    objects = objects[is_known]
    chosen = torch.from_numpy(known.rows[objects])
    boxes, images = regions.boxes, regions.image_index
    if rows is not None:
        boxes, images = (one[to_device(rows, device)] for one in (boxes, images))
    return RegionShapes(
        rows,
        boxes,
        cameras_of(context)[images],
        known.packed[chosen],
        ranges[to_device(chosen, device)],
        objects,
        context.truth,
    )


def _shapes(context: Context, field: ShapeField) -> _Shapes:
    """Those of the objects beside crowds. An object without any vertex or point is not annotated."""
    counts, device = context.objects.counts, context.batch.images.device
    own: list[Any] = [getattr(target.objects(), field) for target in context.truth]
    is_known = [shapes is not None and count > 0 for shapes, count in zip(own, counts, strict=True)]
    kind: Any = Meshes if field == "meshes" else PointClouds
    packed = kind.cat([shapes for shapes, known in zip(own, is_known, strict=True) if known])
    packed = packed.to(device)
    points = packed.vertices if field == "meshes" else packed.points
    sizes = packed.topology.vertex_counts if field == "meshes" else packed.counts
    rows = np.full(sum(counts), -1)
    rows[np.repeat(is_known, counts)] = np.where(np.asarray(sizes) > 0, np.arange(len(packed)), -1)
    return _Shapes(packed, points, sizes, rows)


def _object_name(targets: Sequence[Target], row: int) -> str:
    """An object of a batch in messages."""
    for target in targets:
        count = len(target.objects())
        if row < count:
            break
        row -= count
    return f"image id {target.image_id}, object {row}"


def _name(known: _Shapes, row: int, context: Context) -> str:
    """The object of a packed shape in messages."""
    return _object_name(context.truth, int(np.flatnonzero(known.rows == row)[0]))


def _check_faces(known: _Shapes, context: Context) -> None:
    """Refuse meshes without a surface; their counts are on the CPU."""
    if not isinstance(known.packed, Meshes):
        return
    is_wrong = (np.asarray(known.counts) > 0) & (np.asarray(known.packed.topology.face_counts) == 0)
    if is_wrong.any():
        name = _name(known, int(np.flatnonzero(is_wrong)[0]), context)
        raise InputError(
            f"{name}: its mesh has vertices but no faces, and so no surface to learn; repair it, or leave the object "
            "out"
        )
