"""The planes of an image: its channels one after the other, as torch has them, and flipped on the way."""

from __future__ import annotations

import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.ops.checks import check_shape
from detkit.ops.library import NATIVE_DEVICES


def to_planes(image: Tensor, flips: tuple[bool, bool] = (False, False)) -> Tensor:
    """The planes of an image, which is copied and flipped in one pass.

    Args:
        image: ``(H, W, 3)`` uint8 on the CPU, as decoders give it.
        flips: whether to flip it horizontally, and vertically.

    Returns:
        ``(3, H, W)`` uint8, contiguous.

    Raises:
        InputError: the shape, dtype or device does not fit.
    """
    check_shape("image", image, ("H", "W", 3))
    if image.dtype != torch.uint8 or image.device.type != "cpu":
        raise InputError(f"image must be uint8 on the CPU, got {image.dtype} on {image.device}")
    if "cpu" in NATIVE_DEVICES:
        planes: Tensor = torch.ops.detkit.to_planes(image, *flips)
        return planes
    return to_planes_reference(image, flips)


def to_planes_reference(image: Tensor, flips: tuple[bool, bool]) -> Tensor:
    """`to_planes` in plain torch."""
    horizontal, vertical = flips
    dims = [2] * horizontal + [1] * vertical
    return image.permute(2, 0, 1).flip(dims).contiguous()
