"""Translations of detkit's operations to ONNX's own operators, one file each."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from detkit.ops.library import native_operation


def translations() -> Mapping[Callable[..., Any], Callable[..., Any]]:
    """The function that builds each of detkit's operations in ONNX, for `torch.onnx.export`."""
    from detkit.exporting.onnx_ops.nms import batched_nms_padded  # needs onnxscript

    return {native_operation("batched_nms_padded"): batched_nms_padded}
