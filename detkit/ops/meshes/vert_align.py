"""Features of maps at the vertices of meshes."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from detkit.ops.checks import check_floating, check_same_device, check_shape, geometry_dtype


def vert_align(features: Tensor, locations: Tensor, image_index: Tensor) -> Tensor:
    """Interpolate the map of each vertex's object at its projection.

    Gkioxari et al., "Mesh R-CNN", 2019, section 3.2. Equal to `torch.nn.functional.grid_sample` (bilinear, borders
    repeated, ``align_corners=True``), gradients included, but for packed vertices: objects need no padding.

    Args:
        features: a map for each object (or image) ``(N, C, H, W)``, floating point.
        locations: projections x y ``(V, 2)``, where -1 is the center of the first column or row, 1 of the last.
        image_index: the map of each vertex, ``(V,)`` int64, 0 to N - 1.

    Returns:
        ``(V, C)`` in the dtype of `features`, differentiable in `features` and `locations`. Computed in at least
        float32.

    Raises:
        InputError: shape, dtype or device does not fit.
    """
    check_shape("features", features, ("N", "C", "H", "W"))
    check_shape("locations", locations, ("V", 2))
    check_shape("image_index", image_index, (len(locations),))
    check_floating("features", features)
    check_floating("locations", locations)
    check_same_device(features=features, locations=locations, image_index=image_index)
    _, channels, height, width = features.shape
    left, right, to_right = _neighbors(locations[:, 0], width)
    above, below, to_below = _neighbors(locations[:, 1], height)
    pixels = features.permute(0, 2, 3, 1).reshape(-1, channels)
    dtype = geometry_dtype(features, locations)
    top = image_index * height
    rows = (line + column for line in ((top + above) * width, (top + below) * width) for column in (left, right))
    weights = (down * across for down in (1 - to_below, to_below) for across in (1 - to_right, to_right))
    aligned = F.embedding_bag(
        torch.stack(list(rows), dim=1).view(-1),
        pixels.to(dtype),
        torch.arange(0, 4 * len(locations), 4, device=locations.device),
        mode="sum",
        per_sample_weights=torch.stack(list(weights), dim=1).view(-1).to(dtype),
    )
    return aligned.to(features.dtype)


def _neighbors(location: Tensor, size: int) -> tuple[Tensor, Tensor, Tensor]:
    """The pixels before and after each location along an axis, and the share of the latter."""
    place = (location.to(geometry_dtype(location)) + 1) / 2 * (size - 1)
    outside = (place <= 0) | (place >= size - 1)  # the border itself has no gradient either, as in grid_sample
    place = torch.where(outside, place.detach().clamp(0, size - 1), place)
    before = place.detach().floor().nan_to_num(0.0)  # the share of a NaN is NaN, and so is its result
    return before.long(), (before.long() + 1).clamp(max=size - 1), place - before
