"""The means of what was measured of objects: over the objects, and over the means of the classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from detkit.evaluation.ground_truth import NOTHING_TO_MEASURE
from detkit.evaluation.meshes.mesh_comparison import MeshComparison

UNSCALED = ("chamfer", "normal_consistency", "abs_normal_consistency")
"""The measures that are no shares."""

WITHOUT_FACES = "without_faces"
VOXEL_IOU = "voxel_iou"
OVER_OBJECTS = "_per_object"
"""What the name of a mean over objects ends with; the mean over classes has the bare name."""


@dataclass(frozen=True, eq=False)
class ObjectMeasures:
    """What was measured of M objects.

    Args:
        names: of the V measures.
        images: int64 ``(M,)`` the image of each object, as a position.
        labels: int64 ``(M,)`` its class.
        values: float64 ``(M, V)``, NaN where a measure does not exist.
        classes: the number of classes.
    """

    names: Sequence[str]
    images: np.ndarray
    labels: np.ndarray
    values: np.ndarray
    classes: int

    def of_classes(self, weights: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """The mean of each measure over the objects of each class ``(K,)``, -1 where there is none.

        Args:
            weights: float64 ``(I,)`` how often each image counts; None: once.
        """
        return {name: _ratio(*sums) for name, sums in self._sums(weights).items()}

    def means(self, weights: np.ndarray | None = None) -> dict[str, float]:
        """By name the mean over the classes that have one, and with `OVER_OBJECTS` the mean over the objects; -1 where
        there is none."""
        sums = self._sums(weights)
        over_classes = {
            name: float(_ratio(total, count)[count > 0].mean()) if (count > 0).any() else NOTHING_TO_MEASURE
            for name, (total, count) in sums.items()
        }
        over_objects = {
            name + OVER_OBJECTS: float(_ratio(total.sum(), count.sum())) for name, (total, count) in sums.items()
        }
        return over_classes | over_objects

    def _sums(self, weights: np.ndarray | None) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        """The sum of each measure over the objects of each class ``(K,)``, and the number of those that have it."""
        each = np.ones(len(self.images)) if weights is None else weights[self.images]
        sums = {}
        for name, column in zip(self.names, self.values.T, strict=True):
            exists = np.isfinite(column)
            labels, weight = self.labels[exists], each[exists]
            total = np.bincount(labels, weight * column[exists], minlength=self.classes)
            sums[name] = total, np.bincount(labels, weight, minlength=self.classes)
        return sums


def measure_names(thresholds: Sequence[float]) -> tuple[str, ...]:
    """The names of the measures: those of `measured_rows`, and the IoU of voxels."""
    return (*(f1_name(one) for one in thresholds), *UNSCALED, WITHOUT_FACES, VOXEL_IOU)


def f1_name(threshold: float) -> str:
    """``F1_0.3``: logs refuse an @."""
    return f"F1_{threshold:.4g}"


def measured_rows(comparison: MeshComparison) -> np.ndarray:
    """``(N, V - 1)`` of compared meshes: F1 at each threshold, the distances, and whether there are no faces."""
    distances = [getattr(comparison, name) for name in UNSCALED]
    return np.column_stack([comparison.f1, *distances, comparison.is_empty])


def unscaled_names() -> frozenset[str]:
    """The means that are no shares."""
    return frozenset(name + part for name in UNSCALED for part in ("", OVER_OBJECTS))


def _ratio(total: np.ndarray, count: np.ndarray) -> np.ndarray:
    return np.divide(total, count, out=np.full(np.shape(total), NOTHING_TO_MEASURE), where=count > 0)
