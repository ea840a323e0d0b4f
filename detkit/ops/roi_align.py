"""RoIAlign: crop regions from a feature map, or a pyramid of them, by bilinear sampling."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.ops.library import NATIVE_DEVICES, is_native
from detkit.ops.regions import (
    check_features,
    checked_rois,
    checked_size,
    is_channels_last,
    memory_format_of,
    refuse_if_deterministic,
)


def roi_align(
    features: Tensor,
    rois: Tensor,
    output_size: int | tuple[int, int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
    aligned: bool = False,
) -> Tensor:
    """Crop every region from a feature map by averaged bilinear samples (He et al. 2017, section 3).

    Args:
        features: ``(B, C, H, W)`` float16, bfloat16, float32 or float64, contiguous or channels-last.
        rois: ``(K, 5)`` floating point: image index in ``0..B-1``, then ``x1 y1 x2 y2`` in pixels of the image.
        output_size: height and width of a crop in bins, or one number for both.
        spatial_scale: size of the feature map over size of the image, 1/16 for stride 16.
        sampling_ratio: samples per bin and axis; 0 or -1: the number of cells in the bin, rounded up.
        aligned: shift by half a cell, so that continuous coordinates meet the centers of the cells. False is the
            published behavior, which also makes regions at least one cell wide.

    Returns:
        ``(K, C, height, width)`` in the dtype and memory format of `features`; accumulated in float32.
        Differentiable in `features`.

    Raises:
        InputError: a shape, dtype, device or size does not fit.
        RuntimeError: an image index is outside ``0..B-1``.
    """
    size = checked_size(output_size)
    check_features("features", features)
    rois = checked_rois(rois, features)
    if is_native(features.device):
        return _native_roi_align([features], rois, size, [spatial_scale], sampling_ratio, aligned)
    return roi_align_reference(features, rois, size, spatial_scale, sampling_ratio, aligned)


def multilevel_roi_align(
    features: Sequence[Tensor],
    rois: Tensor,
    output_size: int | tuple[int, int],
    spatial_scales: Sequence[float],
    sampling_ratio: int = -1,
    aligned: bool = False,
    canonical_size: int = 224,
    canonical_level: int = 4,
) -> Tensor:
    """`roi_align` from a feature pyramid, each region from the level for its size (Lin et al. 2017, eq. 1).

    Args:
        features: L maps ``(B, C, Hl, Wl)`` of the same batch, channels, dtype and device, finest first.
        rois: ``(K, 5)``: image index, then ``x1 y1 x2 y2`` in pixels of the image.
        output_size: height and width of a crop in bins, or one number for both.
        spatial_scales: L factors, each half of the one before: (1/4, 1/8, 1/16, 1/32). A stride between two powers of
            two counts as the lower one.
        sampling_ratio: as in `roi_align`.
        aligned: as in `roi_align`.
        canonical_size: side in pixels of the square region that belongs to `canonical_level`.
        canonical_level: log2 of the stride of that region's level.

    Returns:
        ``(K, C, height, width)`` in the order of `rois`.

    Raises:
        InputError: a shape, dtype, device or size does not fit.
        RuntimeError: an image index is outside ``0..B-1``.
    """
    size = checked_size(output_size)
    features = list(features)
    _check_pyramid(features, spatial_scales)
    rois = checked_rois(rois, features[0])
    if is_native(rois.device):
        rule = canonical_size, canonical_level
        return _native_roi_align(features, rois, size, spatial_scales, sampling_ratio, aligned, *rule)
    levels = roi_levels(rois, spatial_scales, canonical_size, canonical_level)
    return multilevel_roi_align_reference(features, rois, levels, size, spatial_scales, sampling_ratio, aligned)


def roi_levels(rois: Tensor, spatial_scales: Sequence[float], canonical_size: int, canonical_level: int) -> Tensor:
    """The index in ``0..L-1`` of the pyramid level for each region ``(K, 5)``: int64 ``(K,)``."""
    finest, coarsest = (math.floor(1e-6 - math.log2(scale)) for scale in (spatial_scales[0], spatial_scales[-1]))
    sides = ((rois[:, 3] - rois[:, 1]) * (rois[:, 4] - rois[:, 2])).sqrt()
    # The small constant keeps a side of exactly canonical_size on its own level in float arithmetic.
    levels = torch.floor(canonical_level + torch.log2(sides / canonical_size) + 1e-6)
    return levels.nan_to_num(finest).clamp(finest, coarsest).long() - finest


def roi_align_reference(
    features: Tensor,
    rois: Tensor,
    output_size: tuple[int, int],
    spatial_scale: float = 1.0,
    sampling_ratio: int = -1,
    aligned: bool = False,
) -> Tensor:
    """`roi_align` in plain torch: sampling and averaging are separable, so a crop is ``rows @ map @ columns``."""
    x1, y1, x2, y2 = (rois[:, 1:] * spatial_scale - (0.5 if aligned else 0.0)).unbind(1)
    rows = _axis_weights(y1, y2, output_size[0], features.shape[2], sampling_ratio, aligned)  # (K, height, H)
    columns = _axis_weights(x1, x2, output_size[1], features.shape[3], sampling_ratio, aligned)  # (K, width, W)
    images = rois[:, 0].long()
    if len(images) and (images.min() < 0 or images.max() >= len(features)):
        raise RuntimeError(f"rois name an image outside 0..{len(features) - 1}")
    with torch.autocast(features.device.type, enabled=False):  # autocast would multiply in half precision
        crops = [
            row @ features[image].to(row.dtype) @ column.T
            for image, row, column in zip(images, rows, columns, strict=True)
        ]
    if not crops:
        return features.new_zeros(0, features.shape[1], *output_size) + 0 * features.sum()
    return torch.stack(crops).to(features.dtype)


def multilevel_roi_align_reference(
    features: Sequence[Tensor],
    rois: Tensor,
    levels: Tensor,
    output_size: tuple[int, int],
    spatial_scales: Sequence[float],
    sampling_ratio: int = -1,
    aligned: bool = False,
) -> Tensor:
    """`multilevel_roi_align` in plain torch, one `roi_align_reference` per level."""
    members = [torch.where(levels == level)[0] for level in range(len(features))]
    crops = [
        roi_align_reference(feature, rois[member], output_size, scale, sampling_ratio, aligned)
        for feature, member, scale in zip(features, members, spatial_scales, strict=True)
    ]
    return torch.cat(crops)[torch.argsort(torch.cat(members))]


def _axis_weights(start: Tensor, end: Tensor, bins: int, cells: int, sampling_ratio: int, aligned: bool) -> Tensor:
    """Weights ``(K, bins, cells)`` of the cells in each bin's average, along one axis of the map."""
    length = (end - start) if aligned else (end - start).clamp(min=1)
    bin_length = length / bins
    counts = (
        torch.full_like(length, sampling_ratio)
        if sampling_ratio > 0
        else torch.where(bin_length < 1e6, bin_length.ceil().clamp(min=0), 0)
    )
    most = int(counts.max()) if len(counts) else 0
    step = torch.arange(most, dtype=length.dtype, device=length.device)
    offset = (step + 0.5) * bin_length[:, None] / counts.clamp(min=1)[:, None]  # (K, most)
    first = start[:, None] + torch.arange(bins, dtype=length.dtype, device=length.device) * bin_length[:, None]
    position = first[:, :, None] + offset[:, None, :]  # (K, bins, most)
    sampled = (step < counts[:, None])[:, None, :] & (position >= -1) & (position <= cells)
    position = position.nan_to_num(0).clamp(0, cells - 1)
    low = position.floor()
    fraction = position - low
    share = sampled / counts.clamp(min=1)[:, None, None]
    weights = torch.zeros(len(start), bins, cells, dtype=length.dtype, device=length.device)
    weights.scatter_add_(2, low.long(), share * (1 - fraction))
    return weights.scatter_add_(2, (low.long() + 1).clamp(max=cells - 1), share * fraction)


def _native_roi_align(
    features: list[Tensor],
    rois: Tensor,
    output_size: tuple[int, int],
    spatial_scales: Sequence[float],
    sampling_ratio: int,
    aligned: bool,
    canonical_size: int = 224,
    canonical_level: int = 4,
) -> Tensor:
    """The native op, with all maps in the memory format of the first."""
    channels_last = is_channels_last(features[0])
    memory_format = memory_format_of(channels_last)
    maps = [feature.contiguous(memory_format=memory_format) for feature in features]
    scales = [float(scale) for scale in spatial_scales]
    crops: Tensor = torch.ops.detkit.roi_align(
        maps, rois, scales, float(canonical_size), canonical_level, *output_size, sampling_ratio, aligned, channels_last
    )
    return crops


def _check_pyramid(features: list[Tensor], spatial_scales: Sequence[float]) -> None:
    if not features or len(features) != len(spatial_scales):
        raise InputError(
            f"features and spatial_scales must match, got {len(features)} maps, {len(spatial_scales)} scales"
        )
    for level, feature in enumerate(features):
        check_features(f"features[{level}]", feature)
        if feature.shape[:2] != features[0].shape[:2] or feature.dtype != features[0].dtype:
            raise InputError(
                f"features must share batch, channels and dtype, got {tuple(feature.shape)} {feature.dtype} at level "
                f"{level}, {tuple(features[0].shape)} {features[0].dtype} at level 0"
            )
    exponents = [-math.log2(scale) if scale > 0 else math.nan for scale in spatial_scales]
    if not all(abs(exponent - exponents[0] - level) < 1e-6 for level, exponent in enumerate(exponents)):
        raise InputError(f"spatial_scales must be each half of the one before, got {list(spatial_scales)}")


def _fake_roi_align(
    features: list[Tensor],
    rois: Tensor,
    spatial_scales: list[float],
    canonical_size: float,
    canonical_level: int,
    height: int,
    width: int,
    sampling_ratio: int,
    aligned: bool,
    channels_last: bool,
) -> Tensor:
    shape = (rois.shape[0], features[0].shape[1], height, width)
    return torch.empty(
        shape, dtype=features[0].dtype, device=features[0].device, memory_format=memory_format_of(channels_last)
    )


def _fake_roi_align_backward(
    gradient: Tensor,
    rois: Tensor,
    spatial_scales: list[float],
    canonical_size: float,
    canonical_level: int,
    batch: int,
    heights: list[int],
    widths: list[int],
    sampling_ratio: int,
    aligned: bool,
    channels_last: bool,
) -> list[Tensor]:
    memory_format = memory_format_of(channels_last)
    return [
        torch.empty(
            (batch, gradient.shape[1], height, width),
            dtype=gradient.dtype,
            device=gradient.device,
            memory_format=memory_format,
        )
        for height, width in zip(heights, widths, strict=True)
    ]


def _keep_for_roi_align(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:
    features, rois, *ctx.pyramid, _, _, ctx.sampling_ratio, ctx.aligned, ctx.channels_last = inputs
    ctx.save_for_backward(rois)
    ctx.batch = features[0].shape[0]
    ctx.heights = [feature.shape[2] for feature in features]
    ctx.widths = [feature.shape[3] for feature in features]


def _differentiate_roi_align(ctx: Any, gradient: Tensor) -> tuple[Any, ...]:
    refuse_if_deterministic("roi_align", gradient.device)
    (rois,) = ctx.saved_tensors
    gradient = gradient.contiguous(memory_format=memory_format_of(ctx.channels_last))
    sizes = ctx.batch, ctx.heights, ctx.widths
    gradients = torch.ops.detkit.roi_align_backward(
        gradient, rois, *ctx.pyramid, *sizes, ctx.sampling_ratio, ctx.aligned, ctx.channels_last
    )
    return gradients, *[None] * 9


def _keep_for_roi_align_backward(ctx: Any, inputs: tuple[Any, ...], output: list[Tensor]) -> None:
    gradient, rois, *ctx.pyramid, _, _, _, ctx.sampling_ratio, ctx.aligned, ctx.channels_last = inputs
    ctx.save_for_backward(rois)
    ctx.output_size = gradient.shape[2:]


def _differentiate_roi_align_backward(ctx: Any, gradients: list[Tensor]) -> tuple[Any, ...]:
    """RoIAlign is linear in the features, so the derivative of its backward is its forward."""
    (rois,) = ctx.saved_tensors
    maps = [gradient.contiguous(memory_format=memory_format_of(ctx.channels_last)) for gradient in gradients]
    gradient = torch.ops.detkit.roi_align(
        maps, rois, *ctx.pyramid, *ctx.output_size, ctx.sampling_ratio, ctx.aligned, ctx.channels_last
    )
    return gradient, *[None] * 10


if NATIVE_DEVICES:
    torch.library.register_fake("detkit::roi_align", _fake_roi_align)
    torch.library.register_fake("detkit::roi_align_backward", _fake_roi_align_backward)
    torch.library.register_autograd("detkit::roi_align", _differentiate_roi_align, setup_context=_keep_for_roi_align)
    torch.library.register_autograd(
        "detkit::roi_align_backward",
        _differentiate_roi_align_backward,
        setup_context=_keep_for_roi_align_backward,
    )
