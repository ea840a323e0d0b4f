"""The definition of COCO's metrics: IoU thresholds, object sizes, limits of detections, and the rows of its table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from detkit.evaluation.ground_truth import NOTHING_TO_MEASURE
from detkit.structures import categories

PERSON_SIGMAS = np.array(categories.PERSON_SIGMAS)
"""``(17,)`` the spread of each keypoint of a person, as a share of the person's size."""

_AREAS = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}


@dataclass(frozen=True)
class Number:
    """One of COCO's numbers, an average precision or recall, and how it is read from the curves.

    Args:
        is_precision: precision, else recall.
        iou_threshold: the IoU threshold; None for the mean over all.
        area: the size of objects, by name.
        max_detections: the most detections per image and category.
    """

    is_precision: bool
    iou_threshold: float | None
    area: str
    max_detections: int


@dataclass(frozen=True, eq=False)
class Curves:
    """Precision ``(T, R, K, A, L)``, recall ``(T, K, A, L)`` and the score ``(T, R, K, A, L)`` at which a recall is
    reached, by IoU threshold, recall threshold, class, size and limit of detections; -1 where there are no objects."""

    precision: np.ndarray
    recall: np.ndarray
    scores: np.ndarray


@dataclass(frozen=True, eq=False)
class Protocol:
    """One of COCO's evaluations.

    Args:
        iou_thresholds: ``(T,)`` 0.50 to 0.95.
        recall_thresholds: ``(R,)`` 0 to 1.
        areas: A ranges of square pixels, both ends included, by name.
        max_detections: L limits of detections per image and category.
        numbers: the rows of COCO's table.
    """

    iou_thresholds: np.ndarray
    recall_thresholds: np.ndarray
    areas: Mapping[str, tuple[float, float]]
    max_detections: Sequence[int]
    numbers: Mapping[str, Number]

    def at_threshold(self, iou_threshold: float) -> Protocol:
        """The same with one IoU threshold, for objects of all sizes."""
        return replace(self, iou_thresholds=np.array([iou_threshold]), areas={"all": self.areas["all"]})

    def summarize(self, curves: Curves, category: int | None = None) -> dict[str, float]:
        """COCO's numbers of all classes, or those of one."""
        return {name: self._read(number, curves, category) for name, number in self.numbers.items()}

    def summarize_classes(self, curves: Curves) -> dict[str, np.ndarray]:
        """COCO's numbers of each class ``(K,)``."""
        return {name: self._read_classes(number, curves) for name, number in self.numbers.items()}

    def _read(self, number: Number, curves: Curves, category: int | None) -> float:
        """The mean over the entries that have objects."""
        measured = self._entries(number, curves)
        if category is not None:
            measured = measured[..., category]
        measured = measured[measured > NOTHING_TO_MEASURE]
        return float(np.mean(measured)) if measured.size else NOTHING_TO_MEASURE

    def _read_classes(self, number: Number, curves: Curves) -> np.ndarray:
        """The mean of each class, all of whose entries have objects, or none."""
        entries = self._entries(number, curves)
        means: np.ndarray = entries.mean(axis=tuple(range(entries.ndim - 1)))
        return means

    def _entries(self, number: Number, curves: Curves) -> np.ndarray:
        """The entries ``(…, K)`` of the curves that a number is the mean of."""
        values = curves.precision if number.is_precision else curves.recall
        if number.iou_threshold is not None:
            values = values[np.isclose(self.iou_thresholds, number.iou_threshold)]
        area, limit = list(self.areas).index(number.area), self.max_detections.index(number.max_detections)
        entries: np.ndarray = values[..., area, limit]
        return entries


def protocol_of(iou_type: str) -> Protocol:
    """COCO's protocol for ``bbox``, ``segm`` or ``keypoints``."""
    return PROTOCOLS[iou_type]


def _detection_numbers() -> dict[str, Number]:
    sizes = {"s": "small", "m": "medium", "l": "large"}
    return {
        "AP": Number(True, None, "all", 100),
        "AP50": Number(True, 0.5, "all", 100),
        "AP75": Number(True, 0.75, "all", 100),
        **{f"AP{letter}": Number(True, None, size, 100) for letter, size in sizes.items()},
        **{f"AR{limit}": Number(False, None, "all", limit) for limit in (1, 10, 100)},
        **{f"AR{letter}": Number(False, None, size, 100) for letter, size in sizes.items()},
    }


def _keypoint_numbers() -> dict[str, Number]:
    conditions = {
        "": (None, "all"),
        "50": (0.5, "all"),
        "75": (0.75, "all"),
        "m": (None, "medium"),
        "l": (None, "large"),
    }
    return {
        f"{kind}{name}": Number(kind == "AP", threshold, area, 20)
        for kind in ("AP", "AR")
        for name, (threshold, area) in conditions.items()
    }


def _protocol(areas: Sequence[str], max_detections: Sequence[int], numbers: Mapping[str, Number]) -> Protocol:
    return Protocol(
        np.linspace(0.5, 0.95, 10), np.linspace(0.0, 1.0, 101), {name: _AREAS[name] for name in areas},
        max_detections, numbers,
    )  # fmt: skip


_DETECTION = _protocol(("all", "small", "medium", "large"), (1, 10, 100), _detection_numbers())
_KEYPOINT = _protocol(("all", "medium", "large"), (20,), _keypoint_numbers())
PROTOCOLS = {"bbox": _DETECTION, "segm": _DETECTION, "keypoints": _KEYPOINT}
