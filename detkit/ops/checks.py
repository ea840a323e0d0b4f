"""What every op demands of its tensors, said in the argument's own name."""

from __future__ import annotations

import torch
from torch import Tensor

from detkit.errors import InputError


def check_shape(name: str, tensor: Tensor, shape: tuple[int | str, ...]) -> None:
    """`tensor` must have `shape`, in which a string names a size that may be anything."""
    if not isinstance(tensor, Tensor):
        raise InputError(f"{name} must be a tensor of shape {_written(shape)}, got {type(tensor).__name__}")
    # A list is quicker than a generator, which counts beside a kernel of a few microseconds.
    fits = tensor.ndim == len(shape) and all(
        [isinstance(want, str) or want == have for want, have in zip(shape, tensor.shape, strict=True)]
    )
    if not fits:
        raise InputError(f"{name} must have shape {_written(shape)}, got {tuple(tensor.shape)}")


def check_floating(name: str, tensor: Tensor) -> None:
    """`tensor` must hold floating-point numbers."""
    if not tensor.is_floating_point():
        raise InputError(f"{name} must be floating point, got {tensor.dtype}: convert it with {name}.float()")


def check_same_device(**tensors: Tensor) -> None:
    """All tensors must be on one device."""
    first, *others = tensors.values()
    if any([tensor.device != first.device for tensor in others]):
        listed = ", ".join(f"{name} on {tensor.device}" for name, tensor in tensors.items())
        raise InputError(f"tensors must be on one device, got {listed}")


def geometry_dtype(*tensors: Tensor) -> torch.dtype:
    """Boxes are computed in float32, also when given in half precision; float64 stays float64."""
    return torch.float64 if torch.float64 in [tensor.dtype for tensor in tensors] else torch.float32


def as_geometry(tensor: Tensor) -> Tensor:
    """The tensor in its `geometry_dtype`."""
    return tensor if tensor.dtype in (torch.float32, torch.float64) else tensor.to(geometry_dtype(tensor))


def _written(shape: tuple[int | str, ...]) -> str:
    return f"({', '.join(map(str, shape))}{',' if len(shape) == 1 else ''})"
