"""Crops of regions by ONNX's operators: RoIAlign on a pyramid as RoiAlign, RoIPool as MaxRoiPool.

K  regions     L  levels     C  channels
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from onnxscript import FLOAT, INT32, INT64

from detkit.exporting.onnx_ops.values import Value, column, columns, op, range_like, scalar, where

# The corner, in pixels, of a region with a coordinate that is not a number: outside of any map, so its crop is zero.
_NOWHERE = -(2.0**24)


def roi_align(
    features: Sequence[Value],
    rois: Value,
    spatial_scales: Sequence[float],
    canonical_size: float,
    canonical_level: int,
    height: int,
    width: int,
    sampling_ratio: int,
    aligned: bool,
    channels_last: bool,
) -> Value:
    """``detkit::roi_align``: crops ``(K, C, height, width)`` of each region from the level for its size."""
    boxes = _finite(columns(op.Cast(rois, to=FLOAT.dtype), 1, 5), aligned)
    images = op.Cast(column(rois, 0), to=INT64.dtype)
    crop = _Crop(height, width, max(sampling_ratio, 0), aligned)
    if len(features) == 1:
        return crop(features[0], boxes, images, spatial_scales[0])
    levels = _levels(boxes, spatial_scales, canonical_size, canonical_level)
    members = [where(op.Equal(levels, scalar(level))) for level in range(len(features))]
    crops = [
        crop(one, op.Gather(boxes, own), op.Gather(images, own), scale)
        for one, own, scale in zip(features, members, spatial_scales, strict=True)
    ]
    order = op.Concat(*members, axis=0)
    places = op.ScatterND(op.Mul(order, scalar(0)), op.Unsqueeze(order, [1]), range_like(order))
    return op.Gather(op.Concat(*crops, axis=0), places)


def roi_pool(
    features: Value, rois: Value, spatial_scale: float, height: int, width: int, channels_last: bool
) -> tuple[Value, Value]:
    """``detkit::roi_pool``: crops ``(K, C, height, width)``; the cells, which serve the gradient alone, are zeros."""
    rois = op.Cast(rois, to=FLOAT.dtype)
    rois = op.Concat(columns(rois, 0, 1), _finite(columns(rois, 1, 5), aligned=True), axis=1)
    pooled = op.MaxRoiPool(
        op.Cast(features, to=FLOAT.dtype), rois, pooled_shape=(height, width), spatial_scale=spatial_scale
    )
    cells = op.Expand(op.Cast(scalar(0), to=INT32.dtype), op.Shape(pooled))
    return op.Cast(pooled, to=int(features.dtype)), cells


class _Crop:
    """RoiAlign of one level, in float32.

    Args:
        height: bins of a crop.
        width: likewise.
        sampling_ratio: samples per bin and axis; 0 adapts to the size of the bin.
        aligned: whether coordinates are shifted by half a cell.
    """

    def __init__(self, height: int, width: int, sampling_ratio: int, aligned: bool) -> None:
        self.height, self.width, self.sampling_ratio = height, width, sampling_ratio
        self.mode = "half_pixel" if aligned else "output_half_pixel"

    def __call__(self, feature: Value, boxes: Value, images: Value, scale: float) -> Value:
        """The crops of `boxes` ``(K, 4)``, in the dtype of `feature` ``(B, C, H, W)``."""
        crops = op.RoiAlign(
            op.Cast(feature, to=FLOAT.dtype),
            boxes,
            images,
            coordinate_transformation_mode=self.mode,
            mode="avg",
            output_height=self.height,
            output_width=self.width,
            sampling_ratio=self.sampling_ratio,
            spatial_scale=scale,
        )
        return op.Cast(crops, to=int(feature.dtype))


def _levels(boxes: Value, spatial_scales: Sequence[float], canonical_size: float, canonical_level: int) -> Value:
    """The index in ``0..L-1`` of the level of each box: how many levels but the finest are for its size or smaller."""
    sides = op.Sqrt(op.Mul(op.Sub(column(boxes, 2), column(boxes, 0)), op.Sub(column(boxes, 3), column(boxes, 1))))
    finest = math.floor(1e-6 - math.log2(spatial_scales[0]))
    # Where the binary logarithm passes a whole number, without taking it: runtimes round it each in its own way.
    smallest = [
        canonical_size * 2 ** (finest + level - canonical_level - 1e-6) for level in range(1, len(spatial_scales))
    ]
    is_larger = op.GreaterOrEqual(op.Unsqueeze(sides, [1]), op.Constant(value_floats=smallest))
    return op.ReduceSum(op.Cast(is_larger, to=INT64.dtype), [1], keepdims=0)


def _finite(boxes: Value, aligned: bool) -> Value:
    """`boxes` ``(K, 4)``, one that is not finite far outside of any map; unaligned, one at least not inverted."""
    if not aligned:
        low, high = columns(boxes, 0, 2), columns(boxes, 2, 4)
        boxes = op.Concat(low, op.Where(op.Greater(high, low), high, low), axis=1)  # also where `high` is NaN
    total = op.ReduceSum(boxes, [1], keepdims=1)
    is_finite = op.Not(op.Or(op.IsNaN(total), op.IsInf(total)))
    return op.Where(is_finite, boxes, op.Constant(value_float=_NOWHERE))
