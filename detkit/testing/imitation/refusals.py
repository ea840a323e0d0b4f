"""What a CUDA device refuses and a CPU alone would not: tensors of two devices, and generators of another."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

IsDevice = Callable[[Tensor], bool]

_COPIES = ("aten::copy_", "aten::_to_copy", "aten::_copy_from")
_INDEXING = ("aten::index", "aten::_unsafe_index")
_INDEX_PUTS = ("aten::index_put", "aten::index_put_", "aten::_index_put_impl_", "aten::_unsafe_index_put")
# On the CPU their kernels take weights of another dtype than the input's.
_OF_ONE_DTYPE = ("aten::native_layer_norm", "aten::native_group_norm")

CUDA_KERNELS = frozenset(
    f"detkit::{name}"
    for name in (
        "batched_nms_padded",
        "best_overlaps",
        "box_iou",
        "box_iou_backward",
        "label_confusion",
        "masks_to_runs",
        "nearest_neighbors",
        "nms",
        "nms_padded",
        "paste_masks",
        "paste_masks_to_runs",
        "roi_align",
        "roi_align_backward",
        "roi_pool",
        "roi_pool_backward",
        "runs_to_masks",
        "soft_nms",
    )
)
"""The operations of csrc/cuda; detkit's others have a kernel for the CPU alone."""


def refuse_what_a_device_refuses(
    name: str, schema: Any, arguments: Sequence[Any], tensors: Sequence[Tensor], is_device: IsDevice
) -> None:
    """Raise the error that torch raises for this operation on a CUDA device.

    Args:
        name: of the operation, with its namespace.
        schema: of the operation.
        arguments: its positional arguments.
        tensors: all tensors in its arguments, at least one of them on the device.
        is_device: says of a tensor whether it is on the device.
    """
    if name in _COPIES:
        return
    if name.startswith("detkit::") and name not in CUDA_KERNELS:
        raise NotImplementedError(f"Could not run '{name}' with arguments from the 'CUDA' backend")
    if name in _INDEXING:
        _refuse_indices(arguments[0], arguments[1], is_device)
    elif name in _INDEX_PUTS:
        _refuse_indices(arguments[0], arguments[1], is_device)
        _refuse_values(arguments[0], arguments[2], is_device)
    else:
        _refuse_mixing(name, schema, arguments, tensors, is_device)
    if name in _OF_ONE_DTYPE and len({one.dtype for one in tensors}) > 1:
        listed = ", ".join(sorted({str(one.dtype) for one in tensors}))
        raise RuntimeError(f"{name}: mixed dtype (CUDA): expect the input and its weights of one dtype, got {listed}")


def refuse_generator(generator: torch.Generator | None) -> None:
    """Raise a RuntimeError if random numbers for the device are asked of a generator of another."""
    if generator is not None and generator.device.type != "cuda":
        raise RuntimeError(f"Expected a 'cuda' device type for generator but found '{generator.device.type}'")


def _refuse_indices(values: Tensor, indices: Sequence[Tensor | None], is_device: IsDevice) -> None:
    """A CPU tensor has no index on a device; one on a device may have a CPU index."""
    if not is_device(values) and any(index is not None and is_device(index) for index in indices):
        raise RuntimeError("indices should be either on cpu or on the same device as the indexed tensor (cpu)")


def _refuse_values(target: Tensor, values: Tensor, is_device: IsDevice) -> None:
    if target.dtype != values.dtype:
        raise RuntimeError(
            "Index put requires the source and destination dtypes match, "
            f"got {target.dtype} for the destination and {values.dtype} for the source."
        )
    is_number = values.ndim == 0 and not is_device(values)
    if is_device(target) != is_device(values) and not is_number:
        raise RuntimeError(
            "expected self and values to be on the same device, "
            f"but got self on {target.device} and values on {values.device}"
        )


def _refuse_mixing(
    name: str, schema: Any, arguments: Sequence[Any], tensors: Sequence[Tensor], is_device: IsDevice
) -> None:
    """Only numbers, CPU tensors without dimensions, go with tensors of the device, and they cannot be written to."""
    others = [one for one in tensors if not is_device(one)]
    written = [
        value
        for argument, value in zip(schema.arguments, arguments, strict=False)
        if argument.alias_info is not None and argument.alias_info.is_write and isinstance(value, Tensor)
    ]
    if any(one.ndim for one in others) or any(not is_device(one) for one in written):
        raise RuntimeError(
            f"Expected all tensors to be on the same device, but found at least two devices, cuda:0 and cpu! "
            f"(in {name}, the CPU's of shape {', '.join(str(tuple(one.shape)) for one in others)})"
        )
