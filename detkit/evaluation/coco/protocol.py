"""What COCO measures: thresholds, sizes, numbers of detections, and the numbers of its table."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

NOTHING_TO_MEASURE = -1.0
"""The value of a number that no object can decide, as in COCO's table: never NaN, and not 0, a bad detector."""

PERSON_SIGMAS = np.array(
    [0.26, 0.25, 0.25, 0.35, 0.35, 0.79, 0.79, 0.72, 0.72, 0.62, 0.62, 1.07, 1.07, 0.87, 0.87, 0.89, 0.89]
) / 10.0  # fmt: skip
"""The spread of each of the 17 keypoints of a person, as a share of the person's size."""

_AREAS = {"all": (0.0, 1e10), "small": (0.0, 32.0**2), "medium": (32.0**2, 96.0**2), "large": (96.0**2, 1e10)}


@dataclass(frozen=True)
class Number:
    """How one of COCO's numbers is read from the curves: an average precision or recall.

    Args:
        is_precision: precision, else recall.
        iou_threshold: at this one; None for the mean over all.
        area: of objects of this size.
        max_detections: with so many detections of an image and category.
    """

    is_precision: bool
    iou_threshold: float | None
    area: str
    max_detections: int


@dataclass(frozen=True, eq=False)
class Curves:
    """Precision ``(T, R, K, A, L)``, recall ``(T, K, A, L)`` and the score ``(T, R, K, A, L)`` at which a recall is
    reached, by IoU threshold, recall threshold, class, size and number of detections; -1 where there are no objects."""

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
        max_detections: L numbers of detections of an image and category.
        numbers: COCO's table.
    """

    iou_thresholds: np.ndarray
    recall_thresholds: np.ndarray
    areas: Mapping[str, tuple[float, float]]
    max_detections: Sequence[int]
    numbers: Mapping[str, Number]

    def summarize(self, curves: Curves, category: int | None = None) -> dict[str, float]:
        """COCO's numbers of all classes, or those of one."""
        return {name: self._read(number, curves, category) for name, number in self.numbers.items()}

    def _read(self, number: Number, curves: Curves, category: int | None) -> float:
        """The mean over what has objects."""
        values = curves.precision if number.is_precision else curves.recall
        if number.iou_threshold is not None:
            values = values[np.isclose(self.iou_thresholds, number.iou_threshold)]
        area, limit = list(self.areas).index(number.area), self.max_detections.index(number.max_detections)
        measured = values[..., area, limit]
        if category is not None:
            measured = measured[..., category]
        measured = measured[measured > NOTHING_TO_MEASURE]
        return float(np.mean(measured)) if measured.size else NOTHING_TO_MEASURE


def protocol_of(iou_type: str) -> Protocol:
    """COCO's evaluation of ``bbox``, ``segm`` or ``keypoints``."""
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
