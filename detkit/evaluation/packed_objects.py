"""The objects and the detections of many images, packed in a few arrays for evaluation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Literal, TypeVar

import numpy as np
import torch

from detkit.ops.coco import measure_masks


@dataclass(frozen=True, eq=False)
class Ragged:
    """N rows of different lengths, concatenated.

    Args:
        values: ``(V,)`` the values of all rows.
        offsets: int64 ``(N + 1,)`` where each row begins in `values`.
    """

    values: np.ndarray
    offsets: np.ndarray

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @property
    def lengths(self) -> np.ndarray:
        """int64 ``(N,)``."""
        return np.diff(self.offsets)

    def table(self, width: int) -> np.ndarray:
        """The rows as an array ``(N, width)``.

        Raises:
            ValueError: a row has another length.
        """
        if (self.lengths != width).any():
            raise ValueError(f"a row does not have the length {width}")
        return self.values.reshape(-1, width)

    def table_or_zeros(self, width: int) -> np.ndarray:
        """As `table`, with zeros for empty rows."""
        is_filled = self.lengths > 0
        rows = np.zeros((len(self), width), self.values.dtype)
        rows[is_filled] = Ragged(self.values, self.offsets[np.append(True, is_filled)]).table(width)
        return rows


@dataclass(frozen=True, eq=False)
class Masks:
    """N masks as COCO's compressed run lengths, concatenated.

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
        """The masks in pycocotools' encoding: ``{"size": [height, width], "counts": bytes or str}``."""
        counts = [one["counts"] for one in encoded]
        counts = [one.encode("ascii") if isinstance(one, str) else one for one in counts]
        offsets = np.zeros(len(counts) + 1, dtype=np.int64)
        np.cumsum([len(one) for one in counts], out=offsets[1:])
        sizes = np.array([one["size"] for one in encoded], dtype=np.int64).reshape(-1, 2)
        return cls(np.frombuffer(bytearray().join(counts), dtype=np.uint8), offsets, sizes)

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
        begins, ends = self.offsets[index].tolist(), self.offsets[index + 1].tolist()
        offsets = np.concatenate(
            [np.zeros(1, dtype=np.int64), np.cumsum(self.offsets[index + 1] - self.offsets[index])]
        )
        view = memoryview(self.strings.data)
        strings = bytearray().join([view[begin:end] for begin, end in zip(begins, ends, strict=True)])
        return Masks(np.frombuffer(strings, dtype=np.uint8), offsets, self.sizes[index])

    def encoded(self, index: int) -> dict:
        """One mask, in pycocotools' form."""
        counts = self.strings[self.offsets[index] : self.offsets[index + 1]].tobytes()
        return {"size": self.sizes[index].tolist(), "counts": counts}

    @cached_property
    def measures(self) -> MaskMeasures:
        """The area and the box of each mask.

        Raises:
            RuntimeError: a string does not encode a mask of its size.
        """
        areas, boxes, have_empty_runs = measure_masks(
            torch.from_numpy(self.strings), torch.from_numpy(self.offsets), torch.from_numpy(self.sizes)
        )
        return MaskMeasures(areas.numpy(), boxes.numpy(), have_empty_runs.numpy())


@dataclass(frozen=True, eq=False)
class MaskMeasures:
    """The areas and boxes of N masks.

    Args:
        areas: float64 ``(N,)`` in pixels.
        boxes: float64 ``(N, 4)`` the box ``x y width height`` around them.
        have_empty_runs: bool ``(N,)`` whether a run after the first has length 0, which no encoder writes but the
            native kernels must know; all False where pycocotools measures.
    """

    areas: np.ndarray
    boxes: np.ndarray
    have_empty_runs: np.ndarray


@dataclass(frozen=True, eq=False)
class PackedObjects:
    """The N annotated objects of all images. Images and categories are positions among those that are evaluated.

    Args:
        images: int64 ``(N,)``.
        categories: int64 ``(N,)``.
        boxes: float64 ``(N, 4)`` ``x y width height`` in pixels.
        areas: float64 ``(N,)`` square pixels, by which an object is small, medium or large.
        iscrowd: bool ``(N,)``.
        masks: N masks, where masks are compared.
        keypoints: float64 ``(N, J, 3)`` ``x y visibility``, where keypoints are compared.
        num_keypoints: int64 ``(N,)`` the number of labeled keypoints.
        difficult: bool ``(N,)`` (PASCAL VOC); COCO's evaluation ignores it.
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
        """bool ``(N,)`` objects that need not be detected: crowds, and objects without labeled keypoints."""
        return self.iscrowd if self.num_keypoints is None else self.iscrowd | (self.num_keypoints == 0)


@dataclass(frozen=True, eq=False)
class PackedDetections:
    """The N detections of all images; see `PackedObjects`.

    Args:
        scores: float64 ``(N,)``.
        areas_of: what the areas were computed from.
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
    ) -> PackedDetections:
        """The detections with their areas: those of the boxes if given, else those of the masks or of the keypoints'
        extent, which then give the boxes too. That is how pycocotools reads a results file.

        Raises:
            ValueError: there are neither boxes nor masks nor keypoints.
        """
        areas_of: Literal["boxes", "masks", "keypoints"]
        if boxes is not None:
            areas, areas_of = boxes[:, 2] * boxes[:, 3], "boxes"
        elif masks is not None:
            areas, boxes, areas_of = masks.measures.areas, masks.measures.boxes, "masks"
        elif keypoints is not None:
            boxes = _extents(keypoints)
            areas, areas_of = boxes[:, 2] * boxes[:, 3], "keypoints"
        else:
            raise ValueError("detections need boxes, masks or keypoints")
        return cls(images, categories, scores, boxes, areas, areas_of, masks, keypoints)


Rows = TypeVar("Rows", PackedObjects, PackedDetections)


def select_rows(rows: Rows, index: np.ndarray) -> Rows:
    """The detections or objects at `index`, int64."""
    names = [name for name, value in vars(rows).items() if isinstance(value, np.ndarray)]
    selected = {name: getattr(rows, name)[index] for name in names}
    return replace(rows, **selected, masks=None if rows.masks is None else rows.masks.select(index))


def _extents(keypoints: np.ndarray) -> np.ndarray:
    """The boxes ``x y width height`` around all keypoints of each object, labeled or not."""
    if len(keypoints) == 0:
        return np.zeros((0, 4))
    low, high = keypoints[:, 0, :2].copy(), keypoints[:, 0, :2].copy()
    for joint in range(1, keypoints.shape[1]):  # faster than a reduction along so short an axis
        np.minimum(low, keypoints[:, joint, :2], out=low)
        np.maximum(high, keypoints[:, joint, :2], out=high)
    return np.concatenate([low, high - low], axis=1)
