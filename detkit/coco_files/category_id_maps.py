"""Label maps whose pixels are ids of categories, as labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.structures.image_fields import IGNORE_INDEX, label_map_dtype

_UNKNOWN = -2


def labels_of_ids(pixels: np.ndarray, ids: Sequence[int], path: Path, image_id: Any) -> Tensor:
    """The label map ``(H, W)`` of the values of a file, uint8 or int16 as of `detkit.structures.Target`.

    255 (with 16 bits 65535) means no class, and so does 0 unless a category has that id.

    Args:
        pixels: uint8 or uint16, as of `detkit.images.read_map`.
        ids: of the categories, in the order of the labels.
        path: of the file, for messages.
        image_id: for messages.

    Raises:
        InputError: the map has several channels, or any other value.
    """
    if pixels.ndim != 2:
        raise InputError(
            f"{path}: the label map of image {image_id!r} is in color, it needs one channel; write ids of "
            "categories as gray values, or as indices of a palette"
        )
    dtype, none = label_map_dtype(len(ids)), int(np.iinfo(pixels.dtype).max)
    table = np.full(none + 1, _UNKNOWN, dtype=np.int32)
    table[[0, none]] = IGNORE_INDEX[dtype]
    for label, key in enumerate(ids):
        if 0 <= key < none:
            table[key] = label
    labels = table[pixels]
    if (labels == _UNKNOWN).any():
        value = int(pixels[labels == _UNKNOWN][0])
        raise InputError(
            f"{path}: the value {value} in the label map of image {image_id!r} is the id of no category, which are "
            f"{', '.join(map(str, ids[:20]))}"
        )
    return torch.from_numpy(labels).to(dtype)
