"""Constants of translated operations."""

from __future__ import annotations

from typing import Any

from onnxscript import opset18 as op


def ints(*values: int) -> Any:
    """The int64 vector of `values`."""
    return op.Constant(value_ints=list(values))


def vector(size: Any) -> Any:
    """The int64 vector ``(1,)`` of a number, which is known or the result of another operation."""
    return ints(size) if isinstance(size, int) else op.Reshape(size, ints(1))
