"""The distances of each pixel to the two nearest objects, and the weights of the borders between objects."""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from detkit.ops import RunLengths, rle_to_masks
from detkit.structures.image_fields import INSTANCES

_SIGMAS = 6
"""Beyond so many sigmas, a weight is less than 2e-8 of the largest, which float32 does not show beside 1."""


def separation_weights(objects: Tensor | RunLengths, w0: float = 10.0, sigma: float = 5.0) -> Tensor:
    """The weights that make a network learn the borders between touching objects (Ronneberger et al., "U-Net", 2015,
    equation 2, without the weight of the class): ``w0 exp(-(d1 + d2)² / (2 sigma²))``.

    d1 and d2 are the distances to the two nearest objects, from pixel center to pixel center, 0 within an object.

    Args:
        objects: masks ``(N, H, W)`` bool, or the same as run lengths, or a panoptic map ``(H, W)`` int32.
        w0: the weight between two objects that touch.
        sigma: in pixels, how far the weights reach.

    Returns:
        ``(H, W)`` float32; zeros with fewer than two objects.
    """
    first, second = two_nearest(objects, _SIGMAS * sigma)
    return torch.from_numpy(w0 * np.exp(-((first + second) ** 2) / (2 * sigma**2))).float()


def two_nearest(objects: Tensor | RunLengths, limit: float) -> tuple[np.ndarray, np.ndarray]:
    """The distances ``(H, W)`` float64 of each pixel to the nearest and to the second nearest object, in pixels.

    Args:
        objects: as of `separation_weights`.
        limit: distances beyond it are infinite.
    """
    size, masks = _masks_of(objects)
    first, second = np.full(size, np.inf), np.full(size, np.inf)
    reach = ceil(limit)
    for mask, (rows, columns) in masks:
        around = (
            slice(max(rows.start - reach, 0), rows.stop + reach),
            slice(max(columns.start - reach, 0), columns.stop + reach),
        )
        inside = np.zeros(first[around].shape, dtype=bool)
        top, left = rows.start - around[0].start, columns.start - around[1].start
        inside[top : top + mask.shape[0], left : left + mask.shape[1]] = mask
        distance = ndimage.distance_transform_edt(~inside)
        distance[distance > limit] = np.inf
        nearest = first[around]  # a view
        second[around] = np.minimum(second[around], np.maximum(nearest, distance))
        np.minimum(nearest, distance, out=nearest)
    return first, second


def _masks_of(objects: Tensor | RunLengths) -> tuple[tuple[int, int], Iterator[tuple[np.ndarray, tuple[slice, slice]]]]:
    """The size of the image, and each object cut out, with its place."""
    if isinstance(objects, Tensor) and objects.ndim == 2:
        values = objects.numpy()
        keys = np.unique(values[(values >= 0) & (values % INSTANCES > 0)])
        dense = np.zeros(values.shape, dtype=np.int32)
        if len(keys):
            places = np.minimum(np.searchsorted(keys, values), len(keys) - 1)
            dense = np.where(keys[places] == values, places + 1, 0).astype(np.int32)
        boxes = ndimage.find_objects(dense)
        cut = ((dense[box] == number, box) for number, box in enumerate(boxes, start=1))
        return (values.shape[0], values.shape[1]), cut
    pixels = rle_to_masks(objects).numpy()
    found = ((mask, ndimage.find_objects(mask.astype(np.uint8))) for mask in pixels)
    return (pixels.shape[1], pixels.shape[2]), ((mask[box[0]], box[0]) for mask, box in found if box)
