"""The images that `predict` takes: files, arrays and tensors."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TypeGuard

import numpy as np
from torch import Tensor

from detkit.errors import InputError
from detkit.images import read_image, to_tensor
from detkit.models.check_inputs import check_image

ImageInput = str | Path | np.ndarray | Tensor


def is_sequence(inputs: ImageInput | Sequence[ImageInput]) -> TypeGuard[Sequence[ImageInput]]:
    """Whether `inputs` are several images, possibly as one array or tensor ``(B, …)``."""
    return getattr(inputs, "ndim", 0) == 4 or (isinstance(inputs, Sequence) and not isinstance(inputs, str))


def as_tensor(image: ImageInput, name: str) -> Tensor:
    """The pixels ``(3, H, W)`` of an image.

    Raises:
        InputError: `image`, which the message calls `name`, is none.
    """
    if isinstance(image, Tensor):
        check_image(image, name, waits=True)
        return image
    pixels = read_image(image) if isinstance(image, (str, Path)) else image
    if not isinstance(pixels, np.ndarray):
        raise InputError(f"{name} must be a path, an array or a tensor, got {type(image).__name__}")
    if pixels.ndim != 3 or pixels.shape[2] != 3 or pixels.dtype != np.uint8:
        raise InputError(f"{name} must be (H, W, 3) uint8 RGB for an array, got {pixels.shape} {pixels.dtype}")
    return to_tensor(np.ascontiguousarray(pixels))
