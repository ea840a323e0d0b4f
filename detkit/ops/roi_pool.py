"""RoIPool: crop regions from a feature map by max pooling over bins of whole cells."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from detkit.ops.library import NATIVE_DEVICES, is_native
from detkit.ops.regions import (
    check_features,
    checked_rois,
    checked_size,
    is_channels_last,
    memory_format_of,
    refuse_if_deterministic,
)

LEAST_FEATURE = torch.finfo(torch.float32).min


def roi_pool(features: Tensor, rois: Tensor, output_size: int | tuple[int, int], spatial_scale: float = 1.0) -> Tensor:
    """Crop every region from a feature map by the maximum over its bins (Girshick 2015, section 2.1).

    The corners of a region are rounded to the nearest cell, halves away from zero. Both cells belong to the region, so
    it has at least one. A bin includes the cells in which it begins and ends.

    Args:
        features: ``(B, C, H, W)`` float16, bfloat16, float32 or float64, contiguous or channels-last.
        rois: ``(K, 5)`` floating point: image index in ``0..B-1``, then ``x1 y1 x2 y2`` in pixels of the image.
        output_size: height and width of a crop in bins, or one number for both.
        spatial_scale: size of the feature map over size of the image, 1/16 for stride 16.

    Returns:
        ``(K, C, height, width)`` in the dtype and memory format of `features`; 0 in bins outside of the map. NaN is
        ignored; a bin of only NaN or -inf gives the lowest float32. Differentiable in `features`; of equal maxima the
        first in row-major order gets the gradient.

    Raises:
        InputError: a shape, dtype, device or size does not fit.
        RuntimeError: an image index is outside ``0..B-1``.
    """
    size = checked_size(output_size)
    check_features("features", features)
    rois = checked_rois(rois, features)
    if is_native(features.device):
        channels_last = is_channels_last(features)
        features = features.contiguous(memory_format=memory_format_of(channels_last))
        pooled: Tensor = torch.ops.detkit.roi_pool(features, rois, float(spatial_scale), *size, channels_last)[0]
        return pooled
    return roi_pool_reference(features, rois, size, spatial_scale)


def roi_pool_reference(
    features: Tensor, rois: Tensor, output_size: tuple[int, int], spatial_scale: float = 1.0
) -> Tensor:
    """`roi_pool` in plain torch, bin by bin."""
    images = rois[:, 0].long()
    if len(images) and (images.min() < 0 or images.max() >= len(features)):
        raise RuntimeError(f"rois name an image outside 0..{len(features) - 1}")
    x1, y1, x2, y2 = (rois[:, 1:] * spatial_scale).unbind(1)
    rows = _bin_ranges(y1, y2, output_size[0], features.shape[2])
    columns = _bin_ranges(x1, x2, output_size[1], features.shape[3])
    crops = [
        _greatest(features[image, :, top:bottom, left:right])
        for image, row, column in zip(images.tolist(), rows.tolist(), columns.tolist(), strict=True)
        for top, bottom in row
        for left, right in column
    ]
    if not crops:
        return features.new_zeros(0, features.shape[1], *output_size) + 0 * features.sum()
    with torch.autocast(features.device.type, enabled=False):  # autocast cannot stack half precision
        return torch.unflatten(torch.stack(crops, 1), 1, (len(rois), *output_size)).transpose(0, 1)


def _bin_ranges(start: Tensor, end: Tensor, bins: int, cells: int) -> Tensor:
    """The first cell of every bin and the one past its last, ``(K, bins, 2)``, along one axis of the map."""
    first, last = (_nearest_cell(side).nan_to_num(0) for side in (start, end))
    bin_length = (last - first + 1).clamp(min=1).to(start.dtype) / bins
    bin_length = bin_length.masked_fill(start.isnan() | end.isnan(), 0)
    step = torch.arange(bins, dtype=start.dtype, device=start.device)
    begin, stop = (step * bin_length[:, None]).floor(), ((step + 1) * bin_length[:, None]).ceil()
    return (first[:, None, None] + torch.stack([begin, stop], 2).double()).clamp(0, cells).long()


def _nearest_cell(position: Tensor) -> Tensor:
    """The position rounded, halves away from zero, and clamped far outside of any map; float64, for exact sums."""
    position = position.double()
    whole = position.trunc()
    return (whole + position.sign() * ((position - whole).abs() >= 0.5)).clamp(-(2**30), 2**30)


def _greatest(bin_features: Tensor) -> Tensor:
    """The maximum of the features ``(C, h, w)`` of a bin: ``(C,)``."""
    flat = bin_features.flatten(1)
    if flat.shape[1] == 0:
        return flat.new_zeros(len(flat))
    is_valid = flat > LEAST_FEATURE
    indices = torch.where(is_valid, flat, -torch.inf).argmax(1, keepdim=True)
    return torch.where(is_valid.any(1), flat.gather(1, indices)[:, 0], LEAST_FEATURE)


def _fake_roi_pool(
    features: Tensor, rois: Tensor, spatial_scale: float, height: int, width: int, channels_last: bool
) -> tuple[Tensor, Tensor]:
    shape, memory_format = (rois.shape[0], features.shape[1], height, width), memory_format_of(channels_last)
    pooled = torch.empty(shape, dtype=features.dtype, device=features.device, memory_format=memory_format)
    if features.device.type != "cuda":
        return pooled, torch.empty_like(pooled, dtype=torch.int32)
    cell_dtype = torch.int16 if features.shape[2] * features.shape[3] < 2**15 else torch.int32
    cells = torch.empty(shape, dtype=cell_dtype, device=features.device, memory_format=torch.channels_last)
    return pooled, cells


def _fake_roi_pool_backward(
    gradient: Tensor, cells: Tensor, rois: Tensor, batch: int, map_height: int, map_width: int, channels_last: bool
) -> Tensor:
    shape, memory_format = (batch, gradient.shape[1], map_height, map_width), memory_format_of(channels_last)
    return torch.empty(shape, dtype=gradient.dtype, device=gradient.device, memory_format=memory_format)


def _keep_for_roi_pool(ctx: Any, inputs: tuple[Any, ...], output: tuple[Tensor, Tensor]) -> None:
    features, rois, _, _, _, ctx.channels_last = inputs
    ctx.batch, _, ctx.map_height, ctx.map_width = features.shape
    ctx.save_for_backward(rois, output[1])


def _differentiate_roi_pool(ctx: Any, gradient: Tensor, _: Tensor | None) -> tuple[Any, ...]:
    refuse_if_deterministic("roi_pool", gradient.device)
    rois, cells = ctx.saved_tensors
    gradient = gradient.contiguous(memory_format=memory_format_of(ctx.channels_last))
    size = (ctx.batch, ctx.map_height, ctx.map_width)
    return torch.ops.detkit.roi_pool_backward(gradient, cells, rois, *size, ctx.channels_last), *[None] * 5


def _keep_for_roi_pool_backward(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    _, cells, rois, *_ = inputs
    ctx.save_for_backward(rois, cells)


def _differentiate_roi_pool_backward(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
    """The pooled cells do not depend on the gradient, so the derivative of the backward gathers those cells."""
    rois, cells = ctx.saved_tensors
    _, channels, height, width = gradient.shape
    maps = rois[:, 0].long()[:, None] * channels + torch.arange(channels, device=rois.device)  # (K, C)
    indices = maps[:, :, None, None] * (height * width) + cells.clamp(min=0)
    return torch.where(cells >= 0, gradient.contiguous().take(indices), 0), *[None] * 6


if NATIVE_DEVICES:
    torch.library.register_fake("detkit::roi_pool", _fake_roi_pool)
    torch.library.register_fake("detkit::roi_pool_backward", _fake_roi_pool_backward)
    torch.library.register_autograd("detkit::roi_pool", _differentiate_roi_pool, setup_context=_keep_for_roi_pool)
    torch.library.register_autograd(
        "detkit::roi_pool_backward",
        _differentiate_roi_pool_backward,
        setup_context=_keep_for_roi_pool_backward,
    )
