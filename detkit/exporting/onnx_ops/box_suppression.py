"""Suppression by ONNX's operators: `detkit.ops.nms` and its kin as NonMaxSuppression, box for box.

N  boxes given     M  those of an image     G  groups, which are suppressed by themselves     S  boxes that remain
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from onnxscript import BOOL, FLOAT, INT64

from detkit.errors import InputError
from detkit.exporting.onnx_ops.values import Value, column, columns, op, range_like, scalar, vector, where


class _Ranked(NamedTuple):
    """The boxes that take part, and how they rank.

    Args:
        boxes: ``(M, 4)``.
        groups: ``(M,)`` int64, equal for boxes that can suppress each other.
        by_score: ``(M,)`` int64, their indices from the highest score down, of equal scores the lower first.
    """

    boxes: Value
    groups: Value
    by_score: Value


def nms(boxes: Value, scores: Value, labels: Value | None, iou_threshold: float) -> Value:
    """``detkit::nms``: the kept boxes ``(S,)``, highest score first."""
    return _kept(_ranked(boxes, scores, labels), iou_threshold)


def nms_padded(
    boxes: Value, scores: Value, labels: Value | None, iou_threshold: float, count: Value
) -> tuple[Value, Value]:
    """``detkit::nms_padded``: the first `count` of them, padded with -1, and how many they are."""
    kept = _kept(_ranked(boxes, scores, labels), iou_threshold)
    padded, counts = _of_images(kept, op.Mul(kept, scalar(0)), scalar(1), scalar(count))
    return op.Squeeze(padded, [0]), op.Squeeze(counts, [0])


def batched_nms_padded(
    boxes: Value,
    scores: Value,
    image_index: Value,
    labels: Value | None,
    iou_threshold: float,
    images: Value,
    count: Value,
) -> tuple[Value, Value]:
    """``detkit::batched_nms_padded``: the first `count` of each image, padded with -1, and how many they are."""
    images, count = scalar(images), scalar(count)
    takes_part = op.And(op.GreaterOrEqual(image_index, scalar(0)), op.Less(image_index, images))
    rows = where(takes_part)
    own_images = op.Gather(image_index, rows)
    groups = own_images if labels is None else op.Add(op.Mul(op.Gather(labels, rows), images), own_images)
    kept = _kept(_ranked(op.Gather(boxes, rows), op.Gather(scores, rows), groups), iou_threshold)
    return _of_images(op.Gather(rows, kept), op.Gather(own_images, kept), images, count)


def _ranked(boxes: Value, scores: Value, groups: Value | None) -> _Ranked:
    # TopK ranks the lower index first among equal scores, as the kernels do.
    _, by_score = op.TopK(scores, op.Shape(scores), largest=1, sorted=1)
    return _Ranked(boxes, op.Mul(by_score, scalar(0)) if groups is None else groups, by_score)


def _kept(ranked: _Ranked, iou_threshold: float) -> Value:
    """The indices ``(S,)`` of the boxes that remain, highest score first over all groups.

    NonMaxSuppression treats a batch of sets of boxes: each group is one, in a row of the length of the longest.
    """
    own_groups = op.Gather(ranked.groups, ranked.by_score)
    # No two keys are equal: OpenVINO does not keep the order of equal ones, as ONNX asks.
    keys = op.Add(op.Mul(own_groups, op.Shape(ranked.by_score)), range_like(ranked.by_score))
    _, order = op.TopK(keys, op.Shape(ranked.by_score), largest=0, sorted=1)
    groups = op.Gather(own_groups, order)
    order = op.Gather(ranked.by_score, order)  # group by group, best first
    before = op.Concat(op.Sub(op.Slice(groups, [0], [1]), scalar(1)), op.Slice(groups, [0], [-1]), axis=0)
    begins = op.Not(op.Equal(groups, before))
    starts = where(begins)
    row = op.Sub(op.CumSum(op.Cast(begins, to=INT64.dtype), scalar(0)), scalar(1))
    place = op.Sub(range_like(order), op.Gather(starts, row))
    length = op.ReduceMax(op.Concat(op.Add(place, scalar(1)), vector(1), axis=0), keepdims=1)
    rows = op.Max(op.Shape(starts), vector(1))  # at least one, for runtimes that take no empty batch
    cells = op.Concat(op.Unsqueeze(row, [1]), op.Unsqueeze(place, [1]), axis=1)
    zero = op.Constant(value_float=0.0)
    own_boxes = op.Gather(_not_inverted(ranked.boxes), order)
    grid = op.ScatterND(op.Expand(zero, op.Concat(rows, length, vector(4), axis=0)), cells, own_boxes)
    # The rank in place of the score: no two are equal, and a cell without a box has 0.
    ranks = op.Cast(op.Sub(length, place), to=FLOAT.dtype)
    scores = op.ScatterND(op.Expand(zero, op.Concat(rows, length, axis=0)), cells, ranks)
    selected = op.NonMaxSuppression(
        grid,
        op.Unsqueeze(scores, [1]),
        length,
        op.Constant(value_floats=[float32_threshold(iou_threshold)]),
        op.Constant(value_floats=[0.5]),
    )
    kept = op.Gather(order, op.Add(op.Gather(starts, column(selected, 0)), column(selected, 2)))
    return _best_first(kept, ranked.by_score)


def _best_first(kept: Value, by_score: Value) -> Value:
    """The indices `kept` ``(S,)`` in the order in which they stand in `by_score` ``(M,)``."""
    nothing = op.Mul(by_score, scalar(0))
    is_kept = op.ScatterND(nothing, op.Unsqueeze(kept, [1]), op.Add(op.Mul(kept, scalar(0)), scalar(1)))
    return op.Gather(by_score, where(op.Cast(op.Gather(is_kept, by_score), to=BOOL.dtype)))


def _of_images(rows: Value, images_of_rows: Value, images: Value, count: Value) -> tuple[Value, Value]:
    """The first `count` of the `rows` ``(S,)`` of each image, padded with -1: ``(images, count)``, ``(images,)``."""
    numbers = op.Range(scalar(0), images, scalar(1))
    is_of = op.Cast(op.Equal(op.Unsqueeze(numbers, [1]), op.Unsqueeze(images_of_rows, [0])), to=INT64.dtype)
    place = op.ReduceSum(op.Mul(is_of, op.Sub(op.CumSum(is_of, scalar(1)), scalar(1))), [0], keepdims=0)
    # What comes after the first `count` is written to one more column, which is cut off.
    place = op.Min(place, count)
    shape = op.Concat(op.Reshape(images, [1]), op.Reshape(op.Add(count, scalar(1)), [1]), axis=0)
    cells = op.Concat(op.Unsqueeze(images_of_rows, [1]), op.Unsqueeze(place, [1]), axis=1)
    padded = op.ScatterND(op.Expand(scalar(-1), shape), cells, rows)
    counts = op.Min(op.ReduceSum(is_of, [1], keepdims=0), count)
    return op.Slice(padded, [0], op.Reshape(count, [1]), [1]), counts


def _not_inverted(boxes: Value) -> Value:
    """`boxes` in float32, an inverted one without size: such overlap nothing, but NonMaxSuppression would turn them."""
    boxes = op.Cast(boxes, to=FLOAT.dtype)
    low = columns(boxes, 0, 2)
    return op.Concat(low, op.Max(low, columns(boxes, 2, 4)), axis=1)


def float32_threshold(iou_threshold: float) -> float:
    """The greatest float32 number that is not above `iou_threshold`: a float32 IoU is above both or neither."""
    if iou_threshold < 0:
        raise InputError(
            f"An IoU threshold below 0, got {iou_threshold}, cannot be exported to ONNX: set postprocess.iou_threshold "
            "of the head to 0 or more."
        )
    rounded = np.float32(min(iou_threshold, 1.0))
    if float(rounded) > iou_threshold:
        rounded = np.nextafter(rounded, np.float32(0))
    return float(rounded)
