"""Argument checks that the ops share; messages name the argument."""

from __future__ import annotations

import torch
from torch import Tensor

from detkit.errors import InputError


def check_shape(name: str, tensor: Tensor, shape: tuple[int | str, ...]) -> None:
    """Raise InputError unless `tensor` has `shape`, where a string names a size of any value."""
    if not isinstance(tensor, Tensor):
        raise InputError(f"{name} must be a tensor of shape {_written(shape)}, got {type(tensor).__name__}")
    # A list is faster than a generator, which matters for kernels of a few microseconds.
    fits = tensor.ndim == len(shape) and all(
        [isinstance(want, str) or want == have for want, have in zip(shape, tensor.shape, strict=True)]
    )
    if not fits:
        raise InputError(f"{name} must have shape {_written(shape)}, got {tuple(tensor.shape)}")


def check_floating(name: str, tensor: Tensor) -> None:
    """Raise InputError unless `tensor` is floating point."""
    if not tensor.is_floating_point():
        raise InputError(f"{name} must be floating point, got {tensor.dtype}: convert it with {name}.float()")


def check_same_device(**tensors: Tensor) -> None:
    """Raise InputError unless all tensors are on one device."""
    first, *others = tensors.values()
    if any([tensor.device != first.device for tensor in others]):
        listed = ", ".join(f"{name} on {tensor.device}" for name, tensor in tensors.items())
        raise InputError(f"tensors must be on one device, got {listed}")


def geometry_dtype(*tensors: Tensor) -> torch.dtype:
    """The dtype that boxes are computed in: float64 if one of `tensors` is, else float32, also for half precision."""
    return torch.float64 if torch.float64 in [tensor.dtype for tensor in tensors] else torch.float32


def as_geometry(tensor: Tensor) -> Tensor:
    """The tensor in its `geometry_dtype`."""
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.to(geometry_dtype(tensor))


def _written(shape: tuple[int | str, ...]) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
