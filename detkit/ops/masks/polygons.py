"""Polygons of annotation files, filled as COCO fills them."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
import torch
from pycocotools import mask as coco_masks
from torch import Tensor

from detkit.errors import InputError
from detkit.files.json_values import shown
from detkit.ops.library import NATIVE_DEVICES, is_native
from detkit.ops.masks.ragged import fake_rows, offsets_of, pack_rows, unpack_rows
from detkit.ops.masks.rle_strings import read_string
from detkit.ops.masks.run_lengths import RunLengths

LARGEST_COORDINATE = 2e8
"""Of a corner, in pixels; the kernels count fifths of a pixel in 30 bits."""


def polygons_to_rle(objects: Sequence[Sequence[Sequence[float]]], height: int, width: int) -> RunLengths:
    """Fill the polygons of each object as COCO does, to the pixel.

    Args:
        objects: for each object its polygons, each a flat list ``x y x y …`` of corners in pixels. They may cross
            themselves, each other and the border of the image; the object is their union. (pycocotools reads four
            numbers as a box. Here they are two corners, so an empty polygon.)
        height: of the image in pixels.
        width: of the image in pixels.

    Raises:
        InputError: an object has no polygon, or a polygon has an odd number of coordinates or one that is not finite.
    """
    polygons = []
    for i, one in enumerate(objects):
        if len(one) == 0:
            raise InputError(f"objects[{i}] has no polygon")
        for j, polygon in enumerate(one):
            polygons.append(_coordinates(polygon, f"objects[{i}][{j}]"))
    coordinates = torch.from_numpy(np.concatenate([np.zeros(0), *polygons]))
    polygon_offsets = offsets_of([len(polygon) // 2 for polygon in polygons])
    object_offsets = offsets_of([len(one) for one in objects])
    sizes = torch.tensor([[height, width]], dtype=torch.int64, device="cpu").repeat(len(objects), 1)
    run = torch.ops.detkit.polygons_to_runs if is_native(coordinates.device) else polygons_to_runs_reference
    try:
        counts, offsets = run(coordinates, polygon_offsets, object_offsets, sizes)
    except RuntimeError as error:
        raise InputError(str(error)) from None
    return RunLengths(counts, offsets, height, width)


def _coordinates(polygon: Sequence[float], name: str) -> np.ndarray:
    """A polygon as float64 ``(2P,)``.

    Raises:
        InputError: it is no flat list of x and y of each corner, of a size that can be filled.
    """
    try:
        values = np.asarray(_readable(polygon) if isinstance(polygon, Tensor) else polygon)
    except (ValueError, OverflowError, RecursionError):  # lists of different lengths, for one
        values = np.array(None)
    if values.dtype.kind not in "iuf" or values.ndim == 0:
        raise InputError(f"{name} must be a list of numbers, x y of each corner, got {shown(polygon)}")
    values = values.reshape(-1)
    if len(values) % 2:
        raise InputError(f"{name} must be x y of each corner, got {len(values)} numbers")
    if not (np.abs(values) <= LARGEST_COORDINATE).all():
        raise InputError(f"{name} must have finite coordinates of at most {LARGEST_COORDINATE:g} pixels")
    return values.astype(np.float64)


def _readable(polygon: Tensor) -> Tensor:
    """A tensor as numpy can read it, which has no bfloat16."""
    polygon = polygon.detach().cpu()
    return polygon.float() if polygon.dtype == torch.bfloat16 else polygon


def polygons_to_runs_reference(
    coordinates: Tensor, polygon_offsets: Tensor, object_offsets: Tensor, sizes: Tensor
) -> tuple[Tensor, Tensor]:
    """The runs of objects given by polygons, by pycocotools."""
    polygons = unpack_rows(coordinates.reshape(-1, 2), polygon_offsets)
    begins = object_offsets.tolist()
    runs: list[Tensor] = []
    for (begin, end), (height, width) in zip(pairwise(begins), sizes.tolist(), strict=True):
        if begin == end:
            raise RuntimeError(f"object {len(runs)}: it has no polygon")
        for coordinate in torch.cat(polygons[begin:end]).flatten().tolist():
            if not abs(5 * coordinate + 0.5) < 2**30:
                raise RuntimeError(f"object {len(runs)}: a polygon has the coordinate {coordinate}")
        if height * width == 0:  # where pycocotools does not come to an end
            runs.append(torch.zeros(1, dtype=torch.int32, device="cpu"))
            continue
        corners = [_at_least_three(polygon.tolist()) for polygon in polygons[begin:end]]
        merged = coco_masks.merge(coco_masks.frPyObjects(corners, height, width))
        runs.append(torch.tensor(read_string(merged["counts"]), dtype=torch.int32))
    return pack_rows(runs)


def _at_least_three(corners: list[list[float]]) -> list[float]:
    """The flat polygon with its last corner repeated up to three corners: pycocotools reads four numbers as a box."""
    corners = corners or [[0.0, 0.0]]
    corners = corners + corners[-1:] * (3 - len(corners))
    return [coordinate for corner in corners for coordinate in corner]


def _fake_polygons_to_runs(
    coordinates: Tensor, polygon_offsets: Tensor, object_offsets: Tensor, sizes: Tensor
) -> tuple[Tensor, Tensor]:
    return fake_rows(coordinates, object_offsets.shape[0] - 1, torch.int32)


if NATIVE_DEVICES:
    torch.library.register_fake("detkit::polygons_to_runs", _fake_polygons_to_runs)
