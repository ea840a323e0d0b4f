"""The operations for which a CPU waits for its GPU, and the code that called them."""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import torch
from torch import Tensor

_PACKAGE = Path(__file__).resolve().parents[2]
_OWN = Path(__file__).resolve().parent
_TORCH = Path(torch.__file__).resolve().parent

_WAITING = {
    "aten::_local_scalar_dense": "item",
    "aten::is_nonzero": "item",
    "aten::equal": "equal",
    "aten::nonzero": "nonzero",
    "aten::masked_select": "masked_select",
    "aten::_unique": "unique",
    "aten::_unique2": "unique",
    "aten::unique_dim": "unique",
    "aten::unique_consecutive": "unique",
    "aten::unique_dim_consecutive": "unique",
    "aten::bincount": "bincount",
    "detkit::nms": "nms",
    "detkit::soft_nms": "soft_nms",
    "detkit::masks_to_runs": "masks_to_runs",
    "detkit::paste_masks_to_runs": "paste_masks_to_runs",
}
_INDEXING = (
    "aten::index",
    "aten::_unsafe_index",
    "aten::index_put",
    "aten::index_put_",
    "aten::_index_put_impl_",
    "aten::_unsafe_index_put",
)


class Wait(NamedTuple):
    """One wait.

    Args:
        kind: the operation: ``item``, ``nonzero``, ``boolean index``, ``copy to the CPU`` …
        location: the innermost line of detkit that caused it, ``heads/dense/rpn.py:97 propose``; of the caller's own
            code where detkit has no part in it.
    """

    kind: str
    location: str


def kind_of_wait(name: str, arguments: Sequence[Any], options: dict[str, Any], is_device: Any) -> str | None:
    """The kind of wait that an operation is, None if none.

    Args:
        name: of the operation, with its namespace.
        arguments: its positional arguments.
        options: the others.
        is_device: says of a tensor whether it is on the device.
    """
    if name in _WAITING:
        return _WAITING[name]
    if name in _INDEXING:
        indices = [index for index in arguments[1] if index is not None]
        if any(index.dtype in (torch.bool, torch.uint8) for index in indices):
            return "boolean index"
        if any(not is_device(index) and index.ndim for index in indices):
            return "index copied to the device"
    if name == "aten::repeat_interleave" and isinstance(arguments[0], Tensor) and options.get("output_size") is None:
        return "repeat_interleave"
    return None


recorders: list[list[Wait]] = []
"""The lists in which waits are being recorded."""


def wait(kind: str) -> None:
    """Record one wait for the device."""
    if recorders:
        waited = Wait(kind, _location())
        for recorder in recorders:
            recorder.append(waited)


def _location() -> str:
    """Where in detkit the running operation was called."""
    frame: FrameType | None = sys._getframe(1)
    outside = "?"
    while frame is not None:
        origin, file = _origin(frame.f_code.co_filename)
        if origin == "detkit" or (origin == "elsewhere" and outside == "?"):
            outside = f"{file}:{frame.f_lineno} {frame.f_code.co_name}"
        if origin == "detkit":
            break
        frame = frame.f_back
    return outside


@functools.cache
def _origin(file: str) -> tuple[str, str]:
    """Whose code a file is, and its name in a message."""
    path = Path(file)
    if path.is_relative_to(_OWN) or path.is_relative_to(_TORCH):
        return "torch", path.name
    if path.is_relative_to(_PACKAGE) and not path.is_relative_to(_PACKAGE / "testing"):
        return "detkit", path.relative_to(_PACKAGE).as_posix()
    return "elsewhere", path.name
