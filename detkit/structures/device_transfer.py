"""Moving the tensors of a batch to a device: together, from pinned memory, without waiting for it."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from detkit.geometry import rows_alike


def to_device(value: Tensor, device: torch.device | str) -> Tensor:
    """`value` on `device`. Only copies to the CPU block: their memory is undefined until they have finished."""
    return value.to(device, non_blocking=torch.device(device).type != "cpu")


def joined_on(values: Sequence[Tensor], device: torch.device | str) -> Tensor:
    """`values` of one device, concatenated along their first axis, on `device`."""
    if len(values) == 1:
        return to_device(_staged(values[0], device), device)
    if not _is_staged(values, device):
        return to_device(torch.cat(list(values)), device)
    rows = sum(len(value) for value in values)
    dtype = values[0].dtype
    return to_device(torch.cat(list(values), out=_pinned((rows, *values[0].shape[1:]), dtype)), device)


def stacked_on(values: Sequence[Tensor], device: torch.device | str) -> Tensor:
    """`values` of one shape and device, stacked along a new first axis, on `device`.

    Bytes that lie one after the other in memory, as in a batch of the loader, are not copied before.
    """
    if len(values) == 1:
        return to_device(_staged(values[0][None], device), device)
    together = _as_one(values)
    if together is not None:
        return to_device(_staged(together, device), device)
    if not _is_staged(values, device):
        return to_device(torch.stack(list(values)), device)
    return to_device(torch.stack(list(values), out=_pinned((len(values), *values[0].shape), values[0].dtype)), device)


def images_on(images: Sequence[Tensor], device: torch.device | str) -> list[Tensor]:
    """`images` of any sizes on `device`, those of one size in one transfer."""
    there = torch.device(device)
    keys = (None if image.device == there else (image.shape, image.dtype, image.device) for image in images)
    moved = list(images)
    for group in rows_alike(keys):
        for index, image in zip(group, stacked_on([images[index] for index in group], device).unbind(), strict=True):
            moved[index] = image
    return moved


def _staged(value: Tensor, device: torch.device | str) -> Tensor:
    """`value` in pinned memory where it is to go from the CPU to a GPU, which then copies it on its own."""
    if not _is_staged([value], device) or value.is_pinned():
        return value
    return _pinned(value.shape, value.dtype).copy_(value)


def _pinned(shape: Sequence[int], dtype: torch.dtype) -> Tensor:
    return torch.empty(*shape, dtype=dtype, pin_memory=True)


def _is_staged(values: Sequence[Tensor], device: torch.device | str) -> bool:
    """Whether they cross from the CPU to a GPU, and no gradient flows back."""
    crosses = torch.device(device).type == "cuda" and torch.cuda.is_available() and values[0].is_cpu
    return crosses and not (torch.is_grad_enabled() and any(value.requires_grad for value in values))


def _as_one(values: Sequence[Tensor]) -> Tensor | None:
    """The stack of `values` in uint8 without a copy; None where they do not lie one after the other in one memory."""
    first = values[0]
    if type(first) is not Tensor or first.dtype != torch.uint8 or not first.is_contiguous():
        return None
    if torch.jit.is_tracing() or torch.compiler.is_compiling():  # type: ignore[no-untyped-call]
        return None  # a graph would take the first alone as its input
    memory, size = first.untyped_storage().data_ptr(), first.numel()
    for number, value in enumerate(values):
        if type(value) is not Tensor or not value.is_contiguous() or value.untyped_storage().data_ptr() != memory:
            return None
        if value.storage_offset() != first.storage_offset() + number * size:
            return None
    return first.as_strided((len(values), *first.shape), (size, *first.stride()), first.storage_offset())
