"""The two steps of selective search: graph segmentation, and hierarchical grouping of its regions."""

from __future__ import annotations

import heapq
from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from detkit.ops.library import is_native

COLOR, TEXTURE, SIZE, FILL = 1, 2, 4, 8
"""Similarity measures of two regions; the sum of several flags means the sum of their similarities."""

COLOR_BINS, TEXTURE_BINS = 25, 10


def graph_segmentation(image: Tensor, scale: float, min_size: int) -> Tensor:
    """Graph-based segmentation of an image into regions (Felzenszwalb & Huttenlocher 2004, section 4).

    Args:
        image: ``(H, W, C)`` float32, smoothed.
        scale: the paper's k; larger values give larger regions.
        min_size: regions with fewer pixels are merged into a neighbor.

    Returns:
        The region of each pixel, int32 ``(H, W)``, numbered in the order of their first pixels.
    """
    if is_native(image.device):
        labels: Tensor = torch.ops.detkit.graph_segmentation(image, float(scale), min_size)
        return labels
    return graph_segmentation_reference(image, scale, min_size)


def hierarchical_grouping(labels: Tensor, color: Tensor, texture: Tensor, similarities: Sequence[int]) -> Tensor:
    """Merge the two most similar neighbors until one region is left (Uijlings 2013, algorithm 1 and section 3.2).

    Args:
        labels: int32 ``(H, W)``, the region of each pixel in ``0..N-1``.
        color: uint8 ``(H, W, F)`` in ``0..24``, the histogram bins of the color channels of each pixel.
        texture: uint8 ``(H, W, F)`` in ``0..9``, the histogram bins of its derivatives.
        similarities: S sums of `COLOR`, `TEXTURE`, `SIZE` and `FILL`; one grouping is made by each.

    Returns:
        Boxes ``(S, 2 N - 1, 4)`` float32: of the given regions, then of the merged ones in the order of merging.
    """
    if is_native(labels.device):
        boxes: Tensor = torch.ops.detkit.hierarchical_grouping(
            labels, color, texture, COLOR_BINS, TEXTURE_BINS, list(similarities)
        )
        return boxes
    return torch.stack([hierarchical_grouping_reference(labels, color, texture, one) for one in similarities])


def graph_segmentation_reference(image: Tensor, scale: float, min_size: int) -> Tensor:
    """`graph_segmentation` in plain Python."""
    height, width = image.shape[:2]
    pixels = image.numpy().reshape(height * width, -1)
    first, second = _neighboring_pixels(height, width)
    weights = np.sqrt(np.square(pixels[first] - pixels[second]).sum(axis=1, dtype=np.float32))
    edges = np.argsort(weights, kind="stable")
    parent, size, inner = list(range(len(pixels))), [1] * len(pixels), [np.float32(0)] * len(pixels)

    def find(pixel: int) -> int:
        while parent[pixel] != pixel:
            parent[pixel] = pixel = parent[parent[pixel]]
        return pixel

    def unite(a: int, b: int, weight: np.float32) -> None:
        a, b = (b, a) if size[a] < size[b] else (a, b)
        parent[b], inner[a] = a, weight
        size[a] += size[b]

    for edge in edges:
        a, b = find(first[edge]), find(second[edge])
        if a != b and weights[edge] <= min(inner[c] + np.float32(scale) / np.float32(size[c]) for c in (a, b)):
            unite(a, b, weights[edge])
    for edge in edges:
        a, b = find(first[edge]), find(second[edge])
        if a != b and min(size[a], size[b]) < min_size:
            unite(a, b, weights[edge])
    roots = np.array([find(pixel) for pixel in range(len(pixels))])
    _, firsts, inverse = np.unique(roots, return_index=True, return_inverse=True)
    return torch.from_numpy(np.argsort(np.argsort(firsts))[inverse].reshape(height, width).astype(np.int32))


def hierarchical_grouping_reference(labels: Tensor, color: Tensor, texture: Tensor, similarities: int) -> Tensor:
    """`hierarchical_grouping` in plain Python, for one sum of similarities."""
    height, width = labels.shape
    flat = labels.numpy().ravel()
    count = int(flat.max()) + 1
    pixels = np.bincount(flat, minlength=count).tolist()
    colors = _histograms(flat, color.numpy(), COLOR_BINS, pixels)
    textures = _histograms(flat, texture.numpy(), TEXTURE_BINS, pixels)
    boxes = _boxes(labels.numpy(), count)
    neighbors = _neighbors(flat, height, width, count)
    alive = [True] * count

    def similarity(a: int, b: int) -> float:
        total, size = 0.0, pixels[a] + pixels[b]
        if similarities & COLOR:
            total += _intersection(colors[a], colors[b])
        if similarities & TEXTURE:
            total += _intersection(textures[a], textures[b])
        if similarities & SIZE:
            total += 1 - size / (height * width)
        if similarities & FILL:
            box = _union(boxes[a], boxes[b])
            total += 1 - ((box[2] - box[0]) * (box[3] - box[1]) - size) / (height * width)
        return total

    heap = [(-similarity(a, b), a, b) for a in range(count) for b in neighbors[a] if a < b]
    heapq.heapify(heap)
    while heap:
        _, a, b = heapq.heappop(heap)
        if not (alive[a] and alive[b]):
            continue
        alive[a] = alive[b] = False
        size = pixels[a] + pixels[b]
        for histograms in (colors, textures):
            histograms.append(pixels[a] / size * histograms[a] + pixels[b] / size * histograms[b])
        boxes.append(_union(boxes[a], boxes[b]))
        pixels.append(size)
        alive.append(True)
        neighbors.append({other for other in neighbors[a] | neighbors[b] if alive[other]})
        for other in neighbors[-1]:
            neighbors[other].add(len(boxes) - 1)
            heapq.heappush(heap, (-similarity(other, len(boxes) - 1), other, len(boxes) - 1))
    return torch.tensor(boxes, dtype=torch.float32).reshape(-1, 4)


def _intersection(a: np.ndarray, b: np.ndarray) -> float:
    """The histogram intersection, summed in the order of the kernel, so that ties are ties in both."""
    return float(np.cumsum(np.minimum(a, b))[-1])


def _neighboring_pixels(height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Both pixels of every edge, in the order of the first, then right, below, below left, below right."""
    y, x = (axis.ravel() for axis in np.mgrid[:height, :width])
    pixel = y * width + x
    edges = [
        (pixel, 0, pixel + 1, x + 1 < width),
        (pixel, 1, pixel + width, y + 1 < height),
        (pixel, 2, pixel + width - 1, (y + 1 < height) & (x > 0)),
        (pixel, 3, pixel + width + 1, (y + 1 < height) & (x + 1 < width)),
    ]
    first = np.concatenate([a[inside] for a, _, _, inside in edges])
    kind = np.concatenate([np.full(inside.sum(), rank) for _, rank, _, inside in edges])
    second = np.concatenate([b[inside] for _, _, b, inside in edges])
    order = np.lexsort((kind, first))
    return first[order], second[order]


def _histograms(labels: np.ndarray, bins: np.ndarray, count: int, pixels: Sequence[float]) -> list[np.ndarray]:
    features = bins.shape[2]
    columns = bins.reshape(-1, features) + count * np.arange(features)
    rows = np.repeat(labels, features).reshape(-1, features)
    length = features * count
    sums = np.bincount((rows * length + columns).ravel(), minlength=len(pixels) * length).reshape(-1, length)
    return [row / (size * features) for row, size in zip(sums, pixels, strict=True)]


def _boxes(labels: np.ndarray, count: int) -> list[tuple[int, int, int, int]]:
    boxes = []
    for label in range(count):
        y, x = np.nonzero(labels == label)
        boxes.append((int(x.min()), int(y.min()), int(x.max()) + 1, int(y.max()) + 1))
    return boxes


def _union(a: Sequence[int], b: Sequence[int]) -> tuple[int, int, int, int]:
    return min(a[0], b[0]), min(a[1], b[1]), max(a[2], b[2]), max(a[3], b[3])


def _neighbors(labels: np.ndarray, height: int, width: int, count: int) -> list[set[int]]:
    neighbors: list[set[int]] = [set() for _ in range(count)]
    first, second = _neighboring_pixels(height, width)
    for a, b in np.unique(np.stack((labels[first], labels[second]), axis=1), axis=0):
        if a != b:
            neighbors[a].add(int(b))
            neighbors[b].add(int(a))
    return neighbors
