"""Boxes ``x1 y1 x2 y2`` in continuous pixels: area, clipping, coverage, and the coders of regression targets."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from detkit.ops.best_overlaps import coverage as coverage  # it stands below, beside the kernel that also computes it
from detkit.precise import precise
from detkit.structures.device_transfer import to_device

# The limit of published code: a delta that turns a reference of 16 px (one stride) into a box of 1000 px.
MAX_SIZE_DELTA = math.log(1000 / 16)
# Larger than for any box, but the square of its exponential is finite in float32.
MAX_CELL_STRETCH = 20.0
_LEAST_OFFSET = 1e-5  # from the edges of a cell, which a sigmoid does not reach


def box_area(boxes: Tensor) -> Tensor:
    """Areas ``(...,)`` in square pixels of `boxes` ``(..., 4)``."""
    return (boxes[..., 2] - boxes[..., 0]) * (boxes[..., 3] - boxes[..., 1])


def clip_boxes(boxes: Tensor, image_size: tuple[int, int]) -> Tensor:
    """`boxes` ``(..., 4)`` clipped to an image of `image_size` (height, width)."""
    height, width = image_size
    x, y = boxes[..., 0::2].clamp(0, width), boxes[..., 1::2].clamp(0, height)
    return torch.stack((x, y), dim=-1).flatten(-2)


def at_least(boxes: Tensor, size: float) -> Tensor:
    """Which of `boxes` ``(..., 4)`` are at least `size` pixels wide and high; False for NaN. Bool ``(...,)``."""
    return (boxes[..., 2:] - boxes[..., :2] >= size).all(dim=-1)


class DeltaCoder:
    """Encodes boxes as offsets from reference boxes (R-CNN, appendix C; Faster R-CNN, eq. 2).

    With a reference of center ``(ax, ay)`` and size ``(aw, ah)``, a box ``(x, y, w, h)`` becomes
    ``wx (x - ax) / aw,  wy (y - ay) / ah,  ww log(w / aw),  wh log(h / ah)``.

    Args:
        weights: ``wx wy ww wh``; with 10, 10, 5, 5 the deltas of matched proposals on COCO have unit variance.
    """

    def __init__(self, weights: Sequence[float] = (1.0, 1.0, 1.0, 1.0)) -> None:
        self.weights = tuple(weights)

    def encode(self, references: Tensor, boxes: Tensor) -> Tensor:
        """Deltas ``(..., 4)`` from `references` to `boxes`, both ``(..., 4)`` and of positive size."""
        reference_centers, reference_sizes = _centers_and_sizes(precise(references))
        centers, sizes = _centers_and_sizes(precise(boxes))
        shift = (centers - reference_centers) / reference_sizes
        stretch = torch.log(sizes / reference_sizes)
        deltas = torch.cat((shift, stretch), dim=-1)
        return deltas if self._is_plain else deltas * self._weights(deltas.device)

    def decode(self, references: Tensor, deltas: Tensor) -> Tensor:
        """Boxes ``(..., 4)`` from `references` and `deltas`: the inverse of `encode`, in float32 also under autocast.

        Size deltas are clamped to ``log(1000 / 16)``.
        """
        reference_centers, reference_sizes = _centers_and_sizes(precise(references))
        deltas = precise(deltas) if self._is_plain else precise(deltas) / self._weights(deltas.device)
        centers = deltas[..., :2] * reference_sizes + reference_centers
        half_sizes = 0.5 * torch.exp(deltas[..., 2:].clamp(max=MAX_SIZE_DELTA)) * reference_sizes
        return torch.cat((centers - half_sizes, centers + half_sizes), dim=-1)

    @property
    def _is_plain(self) -> bool:
        return all(weight == 1 for weight in self.weights)

    def _weights(self, device: torch.device) -> Tensor:
        return to_device(torch.tensor(self.weights, dtype=torch.float32), device)


class CellCoder:
    """Decodes boxes from an offset in a grid cell and a factor of an anchor's size (YOLOv2, section 2; YOLOv3, 2.1).

    In the cell with the corner ``(cx, cy)`` and with an anchor of size ``(aw, ah)``, the outputs ``(x, y, w, h)`` mean
    the center ``stride * (cx + s sigmoid(x) - (s - 1) / 2)`` and the width ``aw exp(w)``; y and height likewise.

    Args:
        scale_x_y: ``s``; above 1 a center can reach the edge of the cell (YOLOv4, section 3.4, "grid sensitivity").
        new_coords: the width is ``aw (2 sigmoid(w))^2``, at most four times the anchor's, as darknet's option of that
            name (Scaled-YOLOv4).
    """

    def __init__(self, scale_x_y: float = 1.0, new_coords: bool = False) -> None:
        self.scale_x_y, self.new_coords = scale_x_y, new_coords

    def encode(self, offsets: Tensor, factors: Tensor) -> Tensor:
        """Outputs ``(M, 4)`` that mean centers and sizes, as near as the network can come to them.

        Args:
            offsets: ``(M, 2)``, centers within their cell, in cells.
            factors: ``(M, 2)``, widths and heights in anchors.
        """
        centers = ((offsets + (self.scale_x_y - 1) / 2) / self.scale_x_y).logit(_LEAST_OFFSET)
        sizes = (factors.sqrt() / 2).logit(_LEAST_OFFSET) if self.new_coords else factors.log()
        return torch.cat((centers, sizes), dim=1)

    def decode(self, outputs: Tensor, anchors: Tensor, stride: int) -> Tensor:
        """Boxes ``(B, A, H, W, 4)`` from `outputs` ``(B, A, H, W, 4)``, in float32 also under autocast.

        Args:
            outputs: of the network for each anchor in each cell.
            anchors: width and height in pixels ``(A, 2)``.
            stride: pixels per cell.
        """
        outputs = outputs.float()
        offsets = self.scale_x_y * outputs[..., :2].sigmoid() - (self.scale_x_y - 1) / 2
        centers = (offsets + cell_corners(outputs.shape[2:4], outputs)) * stride
        if self.new_coords:
            factors = (2 * outputs[..., 2:].sigmoid()).square()
        else:
            factors = outputs[..., 2:].clamp(max=MAX_CELL_STRETCH).exp()
        half_sizes = 0.5 * factors * anchors[:, None, None].to(outputs)
        return torch.cat((centers - half_sizes, centers + half_sizes), dim=-1)


def cell_corners(grid_size: Sequence[int], like: Tensor) -> Tensor:
    """``x y`` of the upper left corner of each cell, in cells: ``(H, W, 2)`` with the dtype and device of `like`."""
    y, x = (torch.arange(cells, device=like.device, dtype=like.dtype) for cells in grid_size)
    y, x = torch.meshgrid(y, x, indexing="ij")
    return torch.stack((x, y), dim=-1)


class EdgeCoder:
    """Encodes boxes as the distances of their edges from those of a window, in tenths of its sides (OverFeat, 4.1).

    Tenths are the typical distance of the edges of an object from those of a window that matches it.
    """

    unit = 0.1

    def encode(self, windows: Tensor, boxes: Tensor) -> Tensor:
        """Encoded edges ``(..., 4)`` of `boxes` relative to `windows`, both ``(..., 4)``, windows of positive size."""
        windows, boxes = windows.float(), boxes.float()
        return (boxes - windows) / (self.unit * _sides_twice(windows))

    def decode(self, windows: Tensor, edges: Tensor) -> Tensor:
        """Boxes ``(..., 4)`` from `windows` and `edges`: the inverse of `encode`, in float32 also under autocast.

        The order of edges is not enforced: a box may have no area.
        """
        windows = windows.float()
        return windows + edges.float() * (self.unit * _sides_twice(windows))


class DistanceCoder:
    """Encodes boxes as the distances of a location from their left, top, right and bottom edges (FCOS, eq. 1)."""

    def encode(self, locations: Tensor, boxes: Tensor) -> Tensor:
        """Distances ``(..., 4)`` of the edges of `boxes` ``(..., 4)`` from `locations` ``(..., 2)``, all in pixels.

        They are positive if the location lies inside the box.
        """
        locations, boxes = precise(locations), precise(boxes)
        return torch.cat((locations - boxes[..., :2], boxes[..., 2:] - locations), dim=-1)

    def decode(self, locations: Tensor, distances: Tensor) -> Tensor:
        """Boxes ``(..., 4)`` with edges in `distances` from `locations`: the inverse of `encode`."""
        locations, distances = precise(locations), precise(distances)
        return torch.cat((locations - distances[..., :2], locations + distances[..., 2:]), dim=-1)


def _sides_twice(boxes: Tensor) -> Tensor:
    """(width, height, width, height)."""
    sides = boxes[..., 2:] - boxes[..., :2]
    return torch.cat((sides, sides), dim=-1)


def _centers_and_sizes(boxes: Tensor) -> tuple[Tensor, Tensor]:
    sizes = boxes[..., 2:] - boxes[..., :2]
    return boxes[..., :2] + 0.5 * sizes, sizes
