"""Selective search (Uijlings 2013): region proposals from hierarchical grouping of a segmentation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal

import cv2
import numpy as np
import torch
from torch import Tensor

from detkit.errors import InputError
from detkit.ops.images.grouping import (
    COLOR,
    COLOR_BINS,
    FILL,
    SIZE,
    TEXTURE,
    TEXTURE_BINS,
    graph_segmentation,
    hierarchical_grouping,
)
from detkit.proposals.proposals import Proposals

# Section 5.1 and table 5: color spaces, thresholds of the first segmentation, and sums of similarities.
_MODES = {
    "fast": (("hsv", "lab"), (50, 100), (COLOR | TEXTURE | SIZE | FILL, TEXTURE | SIZE | FILL)),
    "quality": (
        ("hsv", "lab", "rgi", "hue", "intensity"),
        (50, 100, 150, 300),
        (COLOR | TEXTURE | SIZE | FILL, TEXTURE | SIZE | FILL, FILL, SIZE),
    ),
}


class SelectiveSearch(Proposals):
    """Selective search: region proposals from hierarchical grouping, in several color spaces and similarities.

    Each grouping starts from a segmentation and repeatedly merges the two most similar neighbors; every region on the
    way is a proposal. Proposals are ranked by their rank in the hierarchy times a random number (section 4.2), which
    is the same for the same image.

    Args:
        mode: "fast" for 8 groupings, "quality" for 80.
        max_proposals: maximum number of proposals.
        width: images are resized to this width in pixels, so that neither the time nor the scale of regions depends on
            their size; R-CNN used 500. None: images are not resized.
        min_size: minimum width and height of a proposal, in pixels of the resized image.

    Raises:
        InputError: unknown mode, or a value out of range.
    """

    def __init__(
        self,
        mode: Literal["fast", "quality"] = "fast",
        max_proposals: int = 2000,
        width: int | None = 500,
        min_size: int = 20,
    ) -> None:
        if mode not in _MODES:
            raise InputError(f"selective search has the modes {', '.join(_MODES)}, not {mode!r}")
        if max_proposals < 1 or min_size < 1 or (width is not None and width < 1):
            raise InputError(
                "selective search: max_proposals, width and min_size must be at least 1, got "
                f"{max_proposals}, {width} and {min_size}"
            )
        self.mode, self.max_proposals, self.width, self.min_size = mode, max_proposals, width, min_size

    @property  # which users may also write as a plain attribute
    def identity(self) -> str:  # type: ignore[override]
        """The settings that the proposals depend on; the number counts changes of the algorithm."""
        return f"selective search 1: {self.mode} {self.max_proposals} {self.width} {self.min_size}"

    def __call__(self, image: Tensor) -> Tensor:
        """The proposals of `image` ``(3, H, W)``, RGB, uint8 or float in [0, 1].

        Returns:
            Boxes ``(P, 4)`` float32 in pixels of the image, best first, without duplicates; none for an image smaller
            than `min_size`.
        """
        pixels = _pixels(image)
        height, width = pixels.shape[:2]
        scale = self.width / width if self.width is not None else 1.0
        small = cv2.resize(pixels, (round(width * scale), max(1, round(height * scale)))) if scale != 1 else pixels
        boxes, ranks = self._groupings(small)
        random = np.random.default_rng(0).random(len(boxes))
        boxes = boxes[np.argsort(random * ranks, kind="stable")]
        is_large = (boxes[:, 2:] - boxes[:, :2] >= self.min_size).all(axis=1)
        boxes = _distinct(boxes[is_large])[: self.max_proposals]
        back = np.array([width / small.shape[1], height / small.shape[0]], dtype=np.float32)
        return torch.from_numpy(boxes * np.tile(back, 2))

    def _groupings(self, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The boxes ``(P, 4)`` of all groupings, and the rank of each in its hierarchy, 1 for the whole image."""
        spaces, scales, similarities = _MODES[self.mode]
        boxes, ranks = [], []
        for space in spaces:
            channels = _COLOR_SPACES[space](image)
            smooth = torch.from_numpy(_as_three(cv2.GaussianBlur(channels.astype(np.float32), (0, 0), 0.8)))
            color = torch.from_numpy((_as_three(channels).astype(np.int32) * COLOR_BINS // 256).astype(np.uint8))
            texture = torch.from_numpy(_texture_bins(_as_three(channels)))
            for scale in scales:
                labels = graph_segmentation(smooth, scale, min_size=scale)
                grouped = hierarchical_grouping(labels, color, texture, similarities).numpy()
                boxes.append(grouped.reshape(-1, 4))
                ranks.append(np.tile(np.arange(grouped.shape[1], 0, -1), len(similarities)))
        return np.concatenate(boxes), np.concatenate(ranks)


def _pixels(image: Tensor) -> np.ndarray:
    """`image` as ``(H, W, 3)`` uint8."""
    if image.ndim != 3 or len(image) != 3 or image.numel() == 0:
        raise InputError(f"selective search needs an RGB image (3, H, W), got {tuple(image.shape)}")
    if image.dtype != torch.uint8:
        image = (image.float().clamp(0, 1) * 255).round().to(torch.uint8)
    return np.ascontiguousarray(image.permute(1, 2, 0).cpu().numpy())


def _distinct(boxes: np.ndarray) -> np.ndarray:
    """`boxes` without duplicates, in the order of first occurrence."""
    _, firsts = np.unique(boxes, axis=0, return_index=True)
    return boxes[np.sort(firsts)]


def _as_three(channels: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(channels if channels.ndim == 3 else channels[..., None])


def _normalized_rg_and_intensity(image: np.ndarray) -> np.ndarray:
    sums = np.maximum(image.sum(axis=2, keepdims=True, dtype=np.float32), 1)
    shares = (image[..., :2] * (255 / sums)).astype(np.uint8)
    return np.concatenate((shares, cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)[..., None]), axis=2)


_COLOR_SPACES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "hsv": lambda image: cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL),
    "lab": lambda image: cv2.cvtColor(image, cv2.COLOR_RGB2LAB),
    "rgi": _normalized_rg_and_intensity,
    "hue": lambda image: cv2.cvtColor(image, cv2.COLOR_RGB2HSV_FULL)[..., 0],
    "intensity": lambda image: cv2.cvtColor(image, cv2.COLOR_RGB2GRAY),
}


def _texture_bins(channels: np.ndarray) -> np.ndarray:
    """The bins of Gaussian derivatives (sigma 1) in eight directions per pixel and channel; uint8 ``(H, W, 8 C)``.

    Opposite directions have opposite derivatives; each direction takes the positive part.
    """
    smooth = _as_three(cv2.GaussianBlur(channels.astype(np.float32), (0, 0), 1.0))
    padded = np.pad(smooth, ((1, 1), (1, 1), (0, 0)), mode="edge")
    dx = (padded[1:-1, 2:] - padded[1:-1, :-2]) / 2
    dy = (padded[2:, 1:-1] - padded[:-2, 1:-1]) / 2
    half = np.sqrt(np.float32(0.5))
    along = np.concatenate([dx, half * (dx + dy), dy, half * (dy - dx)], axis=2)
    both = np.concatenate((np.maximum(along, 0), np.maximum(-along, 0)), axis=2)
    most = np.maximum(both.max(axis=(0, 1)), 1e-6)
    bins: np.ndarray = np.minimum(both * (TEXTURE_BINS / most), TEXTURE_BINS - 1).astype(np.uint8)
    return bins
