"""IoU of boxes by ONNX's operators.

N, M  boxes of two sets
"""

from __future__ import annotations

from detkit.errors import InputError
from detkit.exporting.onnx_ops.values import Value, column, op


def box_iou(boxes1: Value, boxes2: Value, mode: str) -> Value:
    """``detkit::box_iou``: the IoU ``(N, M)`` of each box of one set with each of the other.

    Raises:
        InputError: `mode` is one of those for losses.
    """
    if mode != "iou":
        raise InputError(f"box_iou in mode {mode!r} serves losses and cannot be exported to ONNX: use mode 'iou'.")
    x1, y1, x2, y2 = (op.Unsqueeze(column(boxes1, index), [1]) for index in range(4))
    u1, v1, u2, v2 = (op.Unsqueeze(column(boxes2, index), [0]) for index in range(4))
    zero = op.CastLike(op.Constant(value_float=0.0), boxes1)
    width = op.Max(op.Sub(op.Min(x2, u2), op.Max(x1, u1)), zero)
    height = op.Max(op.Sub(op.Min(y2, v2), op.Max(y1, v1)), zero)
    common = op.Mul(width, height)
    areas = op.Add(op.Mul(op.Sub(x2, x1), op.Sub(y2, y1)), op.Mul(op.Sub(u2, u1), op.Sub(v2, v1)))
    union = op.Sub(areas, common)
    return op.Where(op.Greater(union, zero), op.Div(common, union), zero)
