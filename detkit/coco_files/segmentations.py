"""COCO's masks: polygons, run lengths and compressed run lengths, checked before any kernel gets their numbers; and
paths of mask files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any, NoReturn

import numpy as np
import torch

from detkit.coco_files.entry_lists import EntryList
from detkit.coco_files.mask_files import encode_mask_file, encode_mask_files, is_mask_file
from detkit.errors import InputError
from detkit.files.json_values import is_finite_numbers, shown
from detkit.ops.coco import fill_masks, measure_masks
from detkit.ops.masks import (
    LARGEST_COORDINATE,
    RunLengths,
    checked_mask_size,
    compress_counts,
    polygons_to_rle,
)

Rings = list[list[float]]
Segmentation = Rings | dict[str, Any] | str
"""Polygons, run lengths, or the path of a mask file."""

_FEWEST_NUMBERS = 6  # of a polygon: three corners


def read_segmentations(listed: EntryList, rows: Sequence[int] | None = None) -> list[Segmentation | None]:
    """The ``segmentation`` of annotations: polygons of three corners or more, ``{"size", "counts"}``, or a path.

    Args:
        listed: the annotations.
        rows: those to read; None: all.

    Returns:
        For each row; None where there is none: missing, null, empty, or only polygons without area, of one or two
        corners.

    Raises:
        InputError: one is none of these, has numbers that are not finite or too large, or its file is not there.
    """
    rows = range(len(listed)) if rows is None else rows
    values = [listed.entries[row].get("segmentation") for row in rows]
    are_plain = _are_plain_polygons([one for one in values if isinstance(one, list)])
    result = []
    for row, value in zip(rows, values, strict=True):
        try:
            result.append(
                _without_slivers(value) if are_plain and isinstance(value, list) else check_segmentation(value)
            )
        except InputError as error:
            _fail(listed, row, error)
    return result


def check_segmentation(value: Any) -> Segmentation | None:
    """The ``segmentation`` of one annotation; see `read_segmentations`.

    Raises:
        InputError: it is wrong; the message does not name the annotation. Whether run lengths or a file make up a mask
            is seen when they are encoded.
    """
    if is_mask_file(value):
        if not os.path.isfile(value):
            raise InputError(f"its mask file {shown(value, 300)} is not there")
        return value
    if isinstance(value, list):
        if not _are_plain_polygons([value]):
            raise InputError(f"{shown(value)} is no list of polygons, each of finite x1, y1, x2, y2, …")
        return _without_slivers(value)
    if value is None or value == {}:
        return None
    if not isinstance(value, dict) or "size" not in value or "counts" not in value:
        raise InputError(f"{shown(value)} is neither a list of polygons (x1, y1, …) nor an RLE with counts and size")
    checked_mask_size(value["size"])
    if not isinstance(value["counts"], (str, bytes, list)):
        raise InputError(f"its counts {shown(value['counts'])} are neither text nor a list of run lengths")
    return value


def encode_segmentation(segmentation: Segmentation, size: tuple[int, int] | None) -> dict[str, Any]:
    """One mask as compressed run lengths, in pycocotools' form.

    Args:
        segmentation: as `check_segmentation` gives it.
        size: ``(height, width)`` of its image; None: unknown.

    Raises:
        InputError: it is no mask of the image; the message does not name the annotation.
    """
    if isinstance(segmentation, str):
        return encode_mask_file(segmentation, size)
    _check_size(segmentation, size)
    if isinstance(segmentation, list):
        return polygons_to_rle([segmentation], *(size or (0, 0))).to_coco()[0]
    try:
        return RunLengths.from_coco([segmentation]).to_coco()[0]
    except InputError as error:
        raise InputError(str(error).removeprefix("mask 0: ")) from None


def _are_plain_polygons(several: list[Any]) -> bool:
    """Whether all are lists of flat lists of x and y that can be filled."""
    rings = list(chain.from_iterable(several))
    if set(map(type, rings)) - {list, tuple} or any(len(ring) % 2 for ring in rings):
        return False
    flat = list(chain.from_iterable(rings))
    if not set(map(type, flat)) <= {int, float} and not is_finite_numbers(flat):
        return False
    try:
        return bool((np.abs(np.array(flat, dtype=np.float64)) <= LARGEST_COORDINATE).all())
    except OverflowError:
        return False


def _without_slivers(polygons: Rings) -> Rings | None:
    """Those of three corners or more."""
    if not all(len(ring) >= _FEWEST_NUMBERS for ring in polygons):
        polygons = [ring for ring in polygons if len(ring) >= _FEWEST_NUMBERS]
    return polygons or None


def _check_size(segmentation: Segmentation, size: tuple[int, int] | None) -> None:
    if isinstance(segmentation, dict) and size is not None and checked_mask_size(segmentation["size"]) != size:
        raise InputError(f"its size {list(segmentation['size'])} is not the image's {list(size)} (height, width)")
    if isinstance(segmentation, list) and size is None:
        raise InputError("its polygons need the height and width of the image, which the file does not state")


def _fail(listed: EntryList, row: int, error: Exception) -> NoReturn:
    raise InputError(
        f"{listed.source}: {listed.name(row)} has no usable segmentation: {error}; correct it or leave it out"
    ) from None


@dataclass(frozen=True, eq=False)
class EncodedMasks:
    """N masks as COCO's compressed run lengths, concatenated.

    Args:
        strings: uint8, all the compressed run lengths.
        offsets: int64 ``(N + 1,)`` where each begins in `strings`.
        sizes: int64 ``(N, 2)`` height and width of each mask.
        areas: float64 ``(N,)`` in pixels.
        boxes: float64 ``(N, 4)`` the box ``x y width height`` around the pixels.
    """

    strings: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray
    areas: np.ndarray
    boxes: np.ndarray


def encode_masks(
    listed: EntryList, rows: Sequence[int], segmentations: Sequence[Segmentation], sizes: np.ndarray
) -> EncodedMasks:
    """The masks of annotations as compressed run lengths.

    Args:
        listed: the annotations.
        rows: those that are meant.
        segmentations: of each of them, as `read_segmentations` gives them.
        sizes: int64 ``(N, 2)`` height and width of each one's image; 0, 0: unknown.

    Raises:
        InputError: run lengths or a file are not a mask of the image, or polygons are in an image of unknown size.
    """
    stated = [tuple(size) if any(size) else None for size in sizes.tolist()]
    segmentations = _with_read_files(listed, rows, segmentations, stated)
    own_sizes = np.array(
        [
            checked_mask_size(one["size"]) if isinstance(one, dict) else size or (0, 0)
            for one, size in zip(segmentations, stated, strict=True)
        ],
        dtype=np.int64,
    ).reshape(-1, 2)
    try:
        for one, size in zip(segmentations, stated, strict=True):
            _check_size(one, size)
        return _encoded(segmentations, own_sizes)
    except (InputError, RuntimeError):
        for row, one, size in zip(rows, segmentations, stated, strict=True):
            try:
                encode_segmentation(one, size)
            except InputError as error:
                _fail(listed, row, error)
    return _encoded(segmentations, own_sizes)


def _with_read_files(
    listed: EntryList,
    rows: Sequence[int],
    segmentations: Sequence[Segmentation],
    sizes: Sequence[tuple[int, int] | None],
) -> Sequence[Segmentation]:
    """The same with the run lengths of mask files in their stead."""
    files = [number for number, one in enumerate(segmentations) if isinstance(one, str)]
    if not files:
        return segmentations
    runs = encode_mask_files([str(segmentations[number]) for number in files], [sizes[number] for number in files])
    encoded = list(segmentations)
    for number, one in zip(files, runs, strict=True):
        if isinstance(one, InputError):
            _fail(listed, rows[number], one)
        encoded[number] = one
    return encoded


def _encoded(segmentations: Sequence[Segmentation], sizes: np.ndarray) -> EncodedMasks:
    """The masks.

    Raises:
        RuntimeError: run lengths do not fill a mask of their size.
    """
    objects = [[] if isinstance(one, dict) else one for one in segmentations]
    strings = compress_counts([one["counts"] if isinstance(one, dict) else b"" for one in segmentations])
    rings = list(chain.from_iterable(objects))
    corners = np.fromiter(chain.from_iterable(rings), np.float64)
    arrays = (
        corners,
        _offsets([len(ring) // 2 for ring in rings]),
        _offsets([len(one) for one in objects]),
        np.frombuffer(bytearray(b"".join(strings)), np.uint8),
        _offsets([len(one) for one in strings]),
        sizes,
    )
    characters, offsets = fill_masks(*map(torch.from_numpy, arrays))
    areas, boxes, _ = measure_masks(characters, offsets, torch.from_numpy(sizes))
    return EncodedMasks(characters.numpy(), offsets.numpy(), sizes, areas.numpy(), boxes.numpy())


def _offsets(lengths: list[int]) -> np.ndarray:
    """int64 ``(N + 1,)`` where each of N rows begins, and where the last one ends."""
    return np.cumsum([0, *lengths], dtype=np.int64)


def box_rings(boxes: np.ndarray) -> list[Rings]:
    """Boxes ``(N, 4)`` ``x y width height`` as polygons: the masks of objects that have none."""
    x1, y1 = boxes[:, 0], boxes[:, 1]
    x2, y2 = x1 + boxes[:, 2], y1 + boxes[:, 3]
    corners = np.stack((x1, y1, x2, y1, x2, y2, x1, y2), axis=1).clip(-LARGEST_COORDINATE, LARGEST_COORDINATE)
    return [[ring] for ring in corners.tolist()]
