"""Objects and detections of many images in a few arrays: what evaluation compares, whoever computes it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from pycocotools import mask as rle_masks

from detkit.ops import backend as ops_backend


@dataclass(frozen=True, eq=False)
class Masks:
    """N masks as COCO's compressed run lengths, end to end.

    Args:
        strings: uint8, all the compressed run lengths.
        offsets: int64 ``(N + 1,)`` where each begins in `strings`.
        sizes: int64 ``(N, 2)`` height and width of each mask.
    """

    strings: np.ndarray
    offsets: np.ndarray
    sizes: np.ndarray

    @classmethod
    def of(cls, encoded: Sequence[dict]) -> Masks:
        """The masks that pycocotools would encode so: ``{"size": [height, width], "counts": bytes or str}``."""
        counts = [one["counts"] for one in encoded]
        counts = [one.encode("ascii") if isinstance(one, str) else one for one in counts]
        offsets = np.zeros(len(counts) + 1, dtype=np.int64)
        np.cumsum([len(one) for one in counts], out=offsets[1:])
        sizes = np.array([one["size"] for one in encoded], dtype=np.int64).reshape(-1, 2)
        return cls(np.frombuffer(bytearray().join(counts), dtype=np.uint8), offsets, sizes)

    @classmethod
    def of_strings(cls, strings: Sequence[str], sizes: np.ndarray) -> Masks:
        """The masks of `sizes`, int64 ``(N, 2)``, that are so encoded."""
        offsets = np.zeros(len(strings) + 1, dtype=np.int64)
        np.cumsum(np.fromiter(map(len, strings), np.int64, len(strings)), out=offsets[1:])
        return cls(np.frombuffer(bytearray("".join(strings), "ascii"), dtype=np.uint8), offsets, sizes)

    @classmethod
    def concatenated(cls, several: Sequence[Masks]) -> Masks:
        """All the masks of `several`, in order."""
        lengths = [np.diff(masks.offsets) for masks in several]
        offsets = np.concatenate([np.zeros(1, dtype=np.int64), *lengths]).cumsum()
        strings = np.concatenate([np.zeros(0, dtype=np.uint8), *(masks.strings for masks in several)])
        sizes = np.concatenate([np.zeros((0, 2), dtype=np.int64), *(masks.sizes for masks in several)])
        return cls(strings, offsets, sizes)

    def __len__(self) -> int:
        return len(self.sizes)

    def select(self, index: np.ndarray) -> Masks:
        """The masks at the positions `index`, int64."""
        lengths = np.diff(self.offsets)[index]
        offsets = np.concatenate([np.zeros(1, dtype=np.int64), np.cumsum(lengths)])
        places = np.arange(offsets[-1]) + np.repeat(self.offsets[index] - offsets[:-1], lengths)
        return Masks(self.strings[places], offsets, self.sizes[index])

    def encoded(self, index: int) -> dict:
        """One mask, in pycocotools' form."""
        counts = self.strings[self.offsets[index] : self.offsets[index + 1]].tobytes()
        return {"size": self.sizes[index].tolist(), "counts": counts}

    def measures(self) -> tuple[np.ndarray, np.ndarray]:
        """float64 ``(N,)`` the pixels of each mask, and ``(N, 4)`` the box ``x y width height`` around them."""
        if ops_backend() != "reference":
            arrays = (self.strings, self.offsets, self.sizes)
            areas, boxes = torch.ops.detkit.coco_measure_masks(*map(torch.from_numpy, arrays))
            return areas.numpy(), boxes.numpy()
        encoded = [self.encoded(index) for index in range(len(self))]
        areas = np.array([rle_masks.area(one) for one in encoded], dtype=np.float64)
        return areas, np.array([rle_masks.toBbox(one) for one in encoded], dtype=np.float64).reshape(-1, 4)


@dataclass(frozen=True, eq=False)
class Objects:
    """The N objects to be found. Images and categories are given by their positions among those that are evaluated.

    Args:
        images: int64 ``(N,)``.
        categories: int64 ``(N,)``.
        boxes: float64 ``(N, 4)`` ``x y width height`` in pixels.
        areas: float64 ``(N,)`` square pixels, by which an object is small, medium or large.
        iscrowd: bool ``(N,)``.
        masks: N masks, where masks are compared.
        keypoints: float64 ``(N, J, 3)`` ``x y visibility``, where keypoints are compared.
        num_keypoints: int64 ``(N,)`` how many of them are labelled.
        difficult: bool ``(N,)`` (PASCAL VOC); COCO's evaluation does not look at it.
    """

    images: np.ndarray
    categories: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    iscrowd: np.ndarray
    masks: Masks | None = None
    keypoints: np.ndarray | None = None
    num_keypoints: np.ndarray | None = None
    difficult: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.images)

    @property
    def ignored(self) -> np.ndarray:
        """bool ``(N,)`` objects that need not be found: crowds, and objects without labelled keypoints."""
        return self.iscrowd if self.num_keypoints is None else self.iscrowd | (self.num_keypoints == 0)


@dataclass(frozen=True, eq=False)
class Found:
    """The N detections of all images; see `Objects`.

    Args:
        scores: float64 ``(N,)``.
        areas_of: what the areas are those of.
    """

    images: np.ndarray
    categories: np.ndarray
    scores: np.ndarray
    boxes: np.ndarray
    areas: np.ndarray
    areas_of: Literal["boxes", "masks", "keypoints"]
    masks: Masks | None = None
    keypoints: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.images)

    @classmethod
    def measured(
        cls,
        images: np.ndarray,
        categories: np.ndarray,
        scores: np.ndarray,
        boxes: np.ndarray | None,
        masks: Masks | None = None,
        keypoints: np.ndarray | None = None,
    ) -> Found:
        """The detections with their areas: of the boxes if there are any, else of the masks or of the keypoints'
        extent, which then give the boxes too. That is how pycocotools reads a results file."""
        if boxes is not None:
            areas, areas_of = boxes[:, 2] * boxes[:, 3], "boxes"
        elif masks is not None:
            (areas, boxes), areas_of = masks.measures(), "masks"
        else:
            boxes = _extents(keypoints)
            areas, areas_of = boxes[:, 2] * boxes[:, 3], "keypoints"
        return cls(images, categories, scores, boxes, areas, areas_of, masks, keypoints)


def _extents(keypoints: np.ndarray) -> np.ndarray:
    """The boxes ``x y width height`` around all keypoints of each object, labelled or not."""
    if len(keypoints) == 0:
        return np.zeros((0, 4))
    low, high = keypoints[..., :2].min(axis=1), keypoints[..., :2].max(axis=1)
    return np.concatenate([low, high - low], axis=1)
