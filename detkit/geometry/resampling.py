"""Bilinear resampling of maps of numbers, such as logits, from one frame to another; differentiable, on any device."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from detkit.geometry.placement import Placement
from detkit.geometry.rectangles import WholeRectangle, whole


def resample(maps: Tensor, placement: Placement) -> Tensor:
    """Maps ``(B, C, H, W)`` of the given frame of a placement in its new one ``(B, C, *placement.size)``, bilinearly.

    Outside of the given frame, and of the part that the placement shows, the nearest value is continued.
    """
    if tuple(maps.shape[-2:]) != tuple(placement.given_size):
        raise ValueError(f"maps of size {tuple(maps.shape[-2:])} in a placement from {tuple(placement.given_size)}")
    if placement.is_identity and placement.size == placement.given_size and not placement.has_border:
        return maps
    rectangles = _whole_rectangles(placement)
    return _sampled(maps, placement) if rectangles is None else _pasted(maps, placement, *rectangles)


def _whole_rectangles(placement: Placement) -> tuple[WholeRectangle, WholeRectangle] | None:
    """The shown part of the given frame and the window in the new one, where both are whole pixels."""
    if not placement.is_axis_aligned:
        return None
    part, window = whole(placement.visible_part), whole(placement.window)
    return None if part is None or window is None else (part, window)


def _pasted(maps: Tensor, placement: Placement, part: WholeRectangle, window: WholeRectangle) -> Tensor:
    left, top, right, bottom = part
    x1, y1, x2, y2 = window
    maps = maps[..., top:bottom, left:right]
    if maps.shape[-2:] != (y2 - y1, x2 - x1):
        maps = F.interpolate(maps, size=(y2 - y1, x2 - x1), mode="bilinear", align_corners=False)
    mirrored = [axis for axis, scale in ((-1, placement.matrix[0][0]), (-2, placement.matrix[1][1])) if scale < 0]
    maps = maps.flip(mirrored) if mirrored else maps
    margins = (x1, placement.size[1] - x2, y1, placement.size[0] - y2)
    return F.pad(maps, margins, mode="replicate") if any(margins) else maps


def _sampled(maps: Tensor, placement: Placement) -> Tensor:
    """By the inverse map of each pixel's center."""
    (height, width), (given_height, given_width) = placement.size, placement.given_size
    x = torch.arange(width, dtype=torch.float32, device=maps.device) + 0.5
    y = torch.arange(height, dtype=torch.float32, device=maps.device) + 0.5
    (a, b, c), (d, e, f) = placement.inverse().matrix
    sources = torch.stack(
        ((a * x[None] + b * y[:, None] + c) * (2 / given_width) - 1,
         (d * x[None] + e * y[:, None] + f) * (2 / given_height) - 1),
        dim=-1,
    )  # fmt: skip
    grid = sources.to(maps.dtype)[None].expand(len(maps), -1, -1, -1)
    return F.grid_sample(maps, grid, mode="bilinear", padding_mode="border", align_corners=False)
