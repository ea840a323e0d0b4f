"""Masks in image files, which annotations name by their path, as those of Pix3D: the pixels that are not 0."""

from __future__ import annotations

import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeGuard

import numpy as np
import torch

from detkit.errors import InputError
from detkit.images import is_image, read_map
from detkit.ops.masks import masks_to_rle

Size = tuple[int, int]


def is_mask_file(segmentation: Any) -> TypeGuard[str]:
    """Whether the ``segmentation`` of an annotation is the name of an image file."""
    return isinstance(segmentation, str) and is_image(segmentation)


def read_mask(path: str, size: Size | None) -> np.ndarray:
    """The mask ``(H, W)`` bool of a file.

    Args:
        path: of an image file without loss.
        size: ``(height, width)`` of the image that it belongs to; None: unknown.

    Raises:
        InputError: it cannot be read, or has another size.
    """
    values = read_map(path, "this mask")
    mask = np.asarray((values > 0).reshape(*values.shape[:2], -1).any(axis=2))
    if size is not None and mask.shape != tuple(size):
        raise InputError(f"{path}: this mask is {mask.shape} (height, width), but its image is {tuple(size)}")
    return mask


def encode_mask_file(path: str, size: Size | None) -> dict[str, Any]:
    """The mask of a file as compressed run lengths, in pycocotools' form; arguments and errors as of `read_mask`."""
    return masks_to_rle(torch.from_numpy(read_mask(path, size))[None]).to_coco()[0]


def encode_mask_files(paths: Sequence[str], sizes: Sequence[Size | None]) -> list[dict[str, Any] | InputError]:
    """As `encode_mask_file` for several files, in threads; the error of each that cannot be read."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        return list(pool.map(_encoded_or_error, paths, sizes))


def _encoded_or_error(path: str, size: Size | None) -> dict[str, Any] | InputError:
    try:
        return encode_mask_file(path, size)
    except InputError as error:
        return error
