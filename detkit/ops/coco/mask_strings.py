"""Masks as COCO's JSON files hold them: measuring compressed strings, and filling polygons to strings."""

from __future__ import annotations

from itertools import pairwise

import torch
from pycocotools import mask as coco_masks
from torch import Tensor

from detkit.ops.library import is_native
from detkit.ops.masks.polygons import polygons_to_runs_reference
from detkit.ops.masks.ragged import offsets_of, unpack_rows
from detkit.ops.masks.rle_strings import read_string, runs_to_strings_reference


def measure_masks(strings: Tensor, offsets: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Areas and boxes of masks given as compressed strings.

    Args:
        strings: ``(C,)`` uint8, the strings of N masks end to end.
        offsets: ``(N + 1,)`` int64, where each begins.
        sizes: ``(N, 2)`` int64, height and width of each image.

    Returns:
        The number of pixels of each mask, float64 ``(N,)``; the box ``x y width height`` around it, float64 ``(N, 4)``;
        and whether one of its runs after the first is empty, bool ``(N,)``, which no encoder writes.

    Raises:
        RuntimeError: a string is not a mask of its size.
    """
    if not is_native(strings.device):
        return measure_masks_reference(strings, offsets, sizes)
    measures: tuple[Tensor, Tensor, Tensor] = torch.ops.detkit.coco_measure_masks(strings, offsets, sizes)
    return measures


def measure_masks_reference(strings: Tensor, offsets: Tensor, sizes: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`measure_masks` by pycocotools."""
    texts = [text.numpy().tobytes() for text in unpack_rows(strings, offsets)]
    encoded = [{"size": size, "counts": text} for size, text in zip(sizes.tolist(), texts, strict=True)]
    have_empty_runs = []
    for index, (text, (height, width)) in enumerate(zip(texts, sizes.tolist(), strict=True)):
        runs = _checked_runs(index, text, height * width)
        have_empty_runs.append(0 in runs[1:])
    areas = torch.tensor([float(coco_masks.area(one)) for one in encoded], dtype=torch.float64)
    boxes = [coco_masks.toBbox(one).tolist() for one in encoded]
    return areas, torch.tensor(boxes, dtype=torch.float64).reshape(-1, 4), torch.tensor(have_empty_runs).bool()


def fill_masks(
    corners: Tensor, polygons: Tensor, objects: Tensor, strings: Tensor, offsets: Tensor, sizes: Tensor
) -> tuple[Tensor, Tensor]:
    """The masks of N objects, given as polygons or compressed strings, all as compressed strings.

    Args:
        corners: ``(2P,)`` float64, ``x y`` of each corner of all polygons, in pixels.
        polygons: ``(Q + 1,)`` int64, where each polygon begins among the corners.
        objects: ``(N + 1,)`` int64, where the polygons of each object begin.
        strings: ``(C,)`` uint8, the strings of all objects end to end; empty for those with polygons.
        offsets: ``(N + 1,)`` int64, where each string begins.
        sizes: ``(N, 2)`` int64, height and width of each image.

    Returns:
        The strings end to end, uint8 ``(C',)``, and their offsets, int64 ``(N + 1,)``.

    Raises:
        RuntimeError: an object has neither, or a polygon is not finite.
    """
    run = torch.ops.detkit.coco_fill_masks if is_native(corners.device) else fill_masks_reference
    filled: tuple[Tensor, Tensor] = run(corners, polygons, objects, strings, offsets, sizes)
    return filled


def fill_masks_reference(
    corners: Tensor, polygons: Tensor, objects: Tensor, strings: Tensor, offsets: Tensor, sizes: Tensor
) -> tuple[Tensor, Tensor]:
    """`fill_masks` by pycocotools, object by object."""
    filled = []
    for index, (text, (begin, end)) in enumerate(
        zip(unpack_rows(strings, offsets), pairwise(objects.tolist()), strict=True)
    ):
        if len(text) == 0:
            own = offsets_of([end - begin])
            runs = polygons_to_runs_reference(
                corners[2 * int(polygons[begin]) : 2 * int(polygons[end])],
                polygons[begin : end + 1] - polygons[begin],
                own,
                sizes[index : index + 1],
            )
            text, _ = runs_to_strings_reference(*runs)
        filled.append(text)
    characters = torch.cat([torch.zeros(0, dtype=torch.uint8), *filled])
    return characters, offsets_of([len(text) for text in filled])


def _checked_runs(index: int, text: bytes, pixels: int) -> list[int]:
    try:
        runs = read_string(text)
    except ValueError as error:
        raise RuntimeError(f"mask {index}: {error}") from None
    if any(run < 0 for run in runs) or sum(runs) != pixels:
        raise RuntimeError(f"mask {index}: its runs are negative, or do not sum to {pixels}")
    return runs
