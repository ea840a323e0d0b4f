"""Argument checks and helpers that `roi_align` and `roi_pool` share."""

from __future__ import annotations

import warnings

import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.ops.checks import check_floating, check_same_device, check_shape


def checked_size(output_size: int | tuple[int, int]) -> tuple[int, int]:
    """Height and width of a crop; InputError unless they are positive."""
    size = (output_size, output_size) if isinstance(output_size, int) else tuple(output_size)
    if len(size) != 2 or min(size) < 1:
        raise InputError(f"output_size must be a positive number or a pair of them, got {output_size}")
    return size


def check_features(name: str, features: Tensor) -> None:
    """Raise InputError unless `features` are floating-point maps ``(B, C, H, W)`` with at least one cell."""
    check_shape(name, features, ("B", "C", "H", "W"))
    check_floating(name, features)
    if features.shape[2] == 0 or features.shape[3] == 0:
        raise InputError(f"{name} must have height and width, got {tuple(features.shape)}")


def checked_rois(rois: Tensor, features: Tensor) -> Tensor:
    """`rois` in the dtype of the computation: float64 for float64 features, else float32."""
    check_shape("rois", rois, ("K", 5))
    check_floating("rois", rois)
    check_same_device(features=features, rois=rois)
    return rois.to(torch.float64 if features.dtype == torch.float64 else torch.float32)


def is_channels_last(tensor: Tensor) -> bool:
    """Whether a tensor ``(B, C, H, W)`` is stored channels-last."""
    return tensor.is_contiguous(memory_format=torch.channels_last) and not tensor.is_contiguous()


def memory_format_of(channels_last: bool) -> torch.memory_format:
    """The memory format, one of the two that the kernels take."""
    return torch.channels_last if channels_last else torch.contiguous_format


def refuse_if_deterministic(op: str, device: torch.device) -> None:
    """Raise, or warn, for a non-deterministic CUDA backward, as ``torch.use_deterministic_algorithms`` asks for."""
    if device.type == "cuda" and torch.are_deterministic_algorithms_enabled():
        message = f"the backward of {op} has no deterministic CUDA kernel"
        if not torch.is_deterministic_algorithms_warn_only_enabled():
            raise RuntimeError(
                f"{message}; run it on the CPU, or allow it by torch.use_deterministic_algorithms(False)"
            )
        warnings.warn(message, stacklevel=2)
