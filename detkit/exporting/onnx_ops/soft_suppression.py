"""Soft-NMS by ONNX's operators: a loop that takes the best box of each image and lowers the scores of the others.

B  images     N  boxes of an image     M  boxes that are kept
"""

from __future__ import annotations

from typing import Any

from onnxscript import BOOL, FLOAT, INT64, script

from detkit.exporting.onnx_ops.box_suppression import float32_threshold
from detkit.exporting.onnx_ops.values import Value, op, scalar

_NO_SCORE = float("-inf")


def batched_soft_nms_padded(
    boxes: Value,
    scores: Value,
    labels: Value,
    score_threshold: Value,
    iou_threshold: float,
    sigma: float,
    method: str,
    count: Value,
) -> tuple[Value, Value]:
    """``detkit::batched_soft_nms_padded``: the kept boxes ``(B, M)`` of each image and their decayed scores."""
    numbers = (op.Constant(value_float=value) for value in (float32_threshold(iou_threshold), sigma))
    is_gaussian = op.Cast(scalar(int(method == "gaussian")), to=BOOL.dtype)
    loop: Any = _loop  # the type of a script takes one argument
    result: tuple[Value, Value] = loop(boxes, scores, labels, score_threshold, *numbers, is_gaussian, scalar(count))
    return result


@script(default_opset=op)
def _loop(
    boxes: FLOAT,
    scores: FLOAT,
    labels: INT64,
    score_threshold: FLOAT,
    iou_threshold: FLOAT,
    sigma: FLOAT,
    is_gaussian: BOOL,
    count: INT64,
) -> tuple[INT64, FLOAT]:
    """Variables name values of the graph: none may have the name of one of its outputs."""
    shape = op.Shape(scores)
    columns = op.Unsqueeze(op.Range(0, op.Squeeze(shape[1:2]), 1), [0])
    no_score = op.Constant(value_float=_NO_SCORE)
    low, high = op.Split(boxes, axis=2, num_outputs=2)
    areas = op.ReduceProd(high - low, [2], keepdims=0)
    left = op.Where(op.GreaterOrEqual(scores, score_threshold), scores, no_score)
    size = op.Concat(op.Reshape(count, [1]), shape[0:1], axis=0)
    chosen = op.Expand(0, size)
    decayed = op.Expand(no_score, size)
    steps = op.Identity(count)
    for step in range(steps):
        best = op.ArgMax(left, axis=1, keepdims=1)
        best_score = op.GatherElements(left, best, axis=1)
        place = op.Reshape(step, [1, 1])
        chosen = op.ScatterND(chosen, place, op.Transpose(best, perm=[1, 0]))
        decayed = op.ScatterND(decayed, place, op.Transpose(best_score, perm=[1, 0]))
        corners = op.Expand(op.Unsqueeze(best, [2]), op.Constant(value_ints=[1, 1, 2]))
        least = op.Max(low, op.GatherElements(low, corners, axis=1))
        most = op.Min(high, op.GatherElements(high, corners, axis=1))
        common = op.ReduceProd(op.Max(most - least, 0.0), [2], keepdims=0)
        union = areas + op.GatherElements(areas, best, axis=1) - common
        iou = op.Where(union > 0.0, common / union, 0.0)
        iou = op.Where(op.Equal(labels, op.GatherElements(labels, best, axis=1)), iou, 0.0)
        linear = op.Where(iou > iou_threshold, op.Max(1.0 - iou, 0.0), 1.0)
        lowered = left * op.Where(is_gaussian, op.Exp(op.Neg(iou * iou / sigma)), linear)
        stays = op.And(lowered >= score_threshold, op.Not(op.Equal(columns, best)))
        left = op.Where(stays, lowered, no_score)
    chosen_of_images = op.Transpose(chosen, perm=[1, 0])
    scores_of_images = op.Transpose(decayed, perm=[1, 0])
    return chosen_of_images, scores_of_images
