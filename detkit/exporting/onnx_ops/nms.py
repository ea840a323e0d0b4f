"""`detkit::batched_nms_padded` in ONNX's own operators.

B  images     n  boxes of an image     K  classes     S  selected boxes
"""

from onnxscript import FLOAT, INT64
from onnxscript import opset18 as op

from detkit.exporting.onnx_ops.constants import ints, vector

LOWEST = -3.4028235e38
"""The lowest float32: above the score of a box that takes no part, which is -inf."""


def batched_nms_padded(
    boxes: FLOAT,
    scores: FLOAT,
    image_index: INT64,
    labels: INT64 | None,
    iou_threshold: float,
    images: INT64,
    count: INT64,
) -> tuple[INT64, INT64]:
    """The same operation, of boxes that come in rows of one length for each image, ordered by image.

    NonMaxSuppression takes the scores ``(B, K, n)`` of each class: those of boxes of other labels are -inf. The best
    `count` of what it selects are the result.
    """
    images, count = vector(images), vector(count)
    rows = op.Reshape(boxes, op.Concat(images, ints(-1, 4), axis=0))
    each = op.Concat(images, ints(-1), axis=0)
    nothing = op.Constant(value_float=float("-inf"))
    scores = op.Reshape(op.Where(op.Less(image_index, 0), nothing, scores), each)
    of_classes = op.Unsqueeze(scores, ints(1))
    if labels is not None:
        own = op.Unsqueeze(op.Reshape(labels, each), ints(1))
        first, step = op.Constant(value_int=0), op.Constant(value_int=1)
        classes = op.Range(first, op.Add(op.ReduceMax(own, keepdims=0), step), step)
        of_classes = op.Where(op.Equal(own, op.Unsqueeze(classes, ints(0, 2))), of_classes, nothing)
    limits = op.Constant(value_floats=[iou_threshold]), op.Constant(value_floats=[LOWEST])
    selected = op.NonMaxSuppression(rows, of_classes, count, *limits)  # (S, 3): image, class, box

    places = op.Gather(selected, ints(0, 2), axis=1)
    kept = op.ScatterND(op.Expand(nothing, op.Shape(scores)), places, op.GatherND(scores, places))
    filler = op.Expand(nothing, op.Concat(images, count, axis=0))
    best, entries = op.TopK(op.Concat(kept, filler, axis=1), count, axis=1)
    is_box = op.Greater(best, nothing)
    each_image = op.Range(op.Constant(value_int=0), op.Squeeze(images), op.Constant(value_int=1))
    firsts = op.Mul(each_image, op.Gather(op.Shape(scores), ints(1)))
    indices = op.Where(is_box, op.Add(entries, op.Unsqueeze(firsts, ints(1))), ints(-1))
    return indices, op.ReduceSum(op.Cast(is_box, to=INT64.dtype), ints(1), keepdims=0)
