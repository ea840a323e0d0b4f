"""The peaks of enlarged heat maps by ONNX's operators.

R  regions     J  keypoints     M  cells along a side of a heat map     n  pixels along the longer side of a box
"""

from __future__ import annotations

from onnxscript import FLOAT, INT64, script

from detkit.exporting.onnx_ops.values import op


@script(default_opset=op)
def heat_map_peaks(heat_maps: FLOAT, boxes: FLOAT) -> FLOAT:
    """``detkit::heat_map_peaks``: ``(R, J, 3)`` of ``(R, J, M, M)`` and ``(R, 4)``.

    It is a loop over regions, since each has pixels of its own number. Variables name values of the graph: none may
    have the name of one of its outputs.
    """
    shape = op.Shape(heat_maps)
    regions, cells = op.Squeeze(shape[0:1]), op.Squeeze(shape[3:4])
    sides = op.Max(op.Slice(boxes, [2], [4], [1]) - op.Slice(boxes, [0], [2], [1]), 1.0)
    most_cells = op.Cast(cells, to=FLOAT.dtype)
    numbers = op.Cast(op.Range(0, cells, 1), to=FLOAT.dtype)
    peaks = op.Expand(0.0, op.Concat(shape[0:2], op.Constant(value_ints=[3]), axis=0))
    for region in range(regions):
        size = op.Gather(sides, region)
        whole = op.Cast(op.Ceil(size), to=INT64.dtype)
        width, height = op.Split(whole, num_outputs=2)
        # Bicubic weights of both sides (2, n, M); of the shorter side only the first are used.
        pixels = op.Cast(op.Range(0, op.ReduceMax(whole, keepdims=0), 1), to=FLOAT.dtype) + 0.5
        position = pixels * op.Unsqueeze(most_cells / op.Cast(whole, to=FLOAT.dtype), [1]) - 0.5
        taps = op.Unsqueeze(op.Floor(position), [2]) + op.Constant(value_floats=[-1.0, 0.0, 1.0, 2.0])
        distance = op.Abs(op.Unsqueeze(position, [2]) - taps)
        near = (1.25 * distance - 2.25) * distance * distance + 1.0
        far = ((-0.75 * distance + 3.75) * distance - 6.0) * distance + 3.0
        tap_weights = op.Where(distance <= 1.0, near, far)
        is_cell = op.Equal(op.Unsqueeze(op.Clip(taps, 0.0, most_cells - 1.0), [3]), numbers)
        weights = op.ReduceSum(op.Unsqueeze(tap_weights, [3]) * op.Cast(is_cell, to=FLOAT.dtype), [2], keepdims=0)
        across = op.Slice(op.Gather(weights, 0), [0], width, [0])
        down = op.Slice(op.Gather(weights, 1), [0], height, [0])
        enlarged = op.MatMul(op.MatMul(down, op.Gather(heat_maps, region)), op.Transpose(across, perm=[1, 0]))
        flat = op.Reshape(enlarged, [0, -1])
        logit = op.ReduceMax(flat, [1], keepdims=1)
        position_of_peak = op.ArgMax(flat, axis=1, keepdims=1)
        pixel = op.Concat(op.Mod(position_of_peak, width), position_of_peak / width, axis=1)
        place = (op.Cast(pixel, to=FLOAT.dtype) + 0.5) * (size / op.Cast(whole, to=FLOAT.dtype))
        own = op.Concat(place, logit, axis=1)
        peaks = op.ScatterND(peaks, op.Reshape(region, [1, 1]), op.Unsqueeze(own, [0]))
    return peaks
