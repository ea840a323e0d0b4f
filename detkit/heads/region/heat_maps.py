"""The peaks of heat maps that are enlarged to their boxes.

R  regions of a batch     J  keypoints of an object     M  cells along a side of a heat map
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from detkit.ops import is_exporting

# Heat maps are enlarged in parts of at most this many pixels, to limit memory.
_PIXELS_AT_ONCE = 2**24


def heat_map_peaks(heat_maps: Tensor, boxes: Tensor) -> Tensor:
    """The highest pixel of each heat map, enlarged bicubically to its box as in the authors' code.

    Args:
        heat_maps: ``(R, J, M, M)`` logits, float32.
        boxes: ``(R, 4)``, whose sizes, rounded up to whole pixels, the maps are enlarged to.

    Returns:
        ``(R, J, 3)``: ``x y`` of the pixel's center, in pixels from the upper left corner of the box, and its logit.
    """
    if is_exporting():
        peaks: Tensor = peaks_in_graph(heat_maps, boxes)
        return peaks
    return _peaks(heat_maps, boxes)


def _peaks(heat_maps: Tensor, boxes: Tensor) -> Tensor:
    peaks = heat_maps.new_zeros(*heat_maps.shape[:2], 3)
    sizes = (boxes[:, 2:] - boxes[:, :2]).clamp(min=1)
    whole = sizes.ceil().to(torch.int64)
    for rows, (width, height) in _groups_by_size(whole, heat_maps.shape[1]):
        enlarged = _enlarged(heat_maps[rows], whole[rows], width, height).flatten(2)
        logit, position = enlarged.max(dim=2)
        pixel = torch.stack((position % width, position // width), dim=-1)
        peaks[rows, :, :2] = (pixel + 0.5) * (sizes / whole)[rows, None]
        peaks[rows, :, 2] = logit
    return peaks


def _groups_by_size(sizes: Tensor, num_keypoints: int) -> Iterator[tuple[Tensor, tuple[int, int]]]:
    """Groups of rows of similar `sizes` ``(R, 2)`` that fit in memory, with the largest width and height of each."""
    order = sizes.prod(dim=1).argsort()
    start, widest, highest = 0, 0, 0
    for end, (width, height) in enumerate(sizes[order].tolist()):
        grown = max(widest, width), max(highest, height)
        if end > start and (end + 1 - start) * num_keypoints * grown[0] * grown[1] > _PIXELS_AT_ONCE:
            yield order[start:end], (widest, highest)
            start, grown = end, (width, height)
        widest, highest = grown
    if start < len(order):
        yield order[start:], (widest, highest)


def _enlarged(heat_maps: Tensor, sizes: Tensor, width: int, height: int) -> Tensor:
    """`heat_maps` ``(R, J, M, M)`` enlarged to `sizes` ``(R, 2)`` in ``(R, J, height, width)``; the rest is -inf."""
    across = _bicubic(heat_maps.shape[-1], sizes[:, 0], width)
    down = _bicubic(heat_maps.shape[-2], sizes[:, 1], height)
    with torch.autocast(heat_maps.device.type, enabled=False):  # positions are float32 also in half precision
        enlarged = down[:, None] @ heat_maps @ across[:, None].transpose(2, 3)
    outside_x = torch.arange(width, device=sizes.device) >= sizes[:, :1]
    outside_y = torch.arange(height, device=sizes.device) >= sizes[:, 1:]
    return enlarged.masked_fill_((outside_y[:, :, None] | outside_x[:, None, :])[:, None], -torch.inf)


def _bicubic(cells: int, lengths: Tensor, longest: int) -> Tensor:
    """Weights ``(R, longest, cells)`` that enlarge `cells` values to ``lengths[r]`` pixels (Keys 1981, a = -3/4)."""
    pixels = torch.arange(longest, device=lengths.device) + 0.5
    position = pixels * (cells / lengths.float())[:, None] - 0.5
    first = position.floor()
    taps = torch.arange(-1, 3, device=lengths.device)
    distance = (position[..., None] - (first[..., None] + taps)).abs()
    near = (1.25 * distance - 2.25) * distance**2 + 1
    far = ((-0.75 * distance + 3.75) * distance - 6) * distance + 3
    weights = torch.where(distance <= 1, near, far)
    cell = (first[..., None] + taps).clamp(0, cells - 1).to(torch.int64)
    return weights.new_zeros(*position.shape, cells).scatter_add_(2, cell, weights)


# One operation of an exported graph, which has no tensors whose sizes depend on boxes.
peaks_in_graph = torch.library.custom_op("detkit::heat_map_peaks", _peaks, mutates_args=())


@peaks_in_graph.register_fake
def _fake_peaks(heat_maps: Tensor, boxes: Tensor) -> Tensor:
    return heat_maps.new_empty(*heat_maps.shape[:2], 3)
