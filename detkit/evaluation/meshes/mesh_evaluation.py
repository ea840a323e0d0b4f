"""The result of an evaluation of meshes, and its numbers where images are weighted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from detkit.evaluation.ground_truth import NOTHING_TO_MEASURE
from detkit.evaluation.meshes.object_means import WITHOUT_FACES, ObjectMeasures
from detkit.evaluation.voc_evaluator import all_point_average
from detkit.evaluation.weighting.image_weighting import ImageWeighting, MeasuredData, WeightedNumbers
from detkit.evaluation.weighting.voc_matches import VocMatches
from detkit.structures import Category


@dataclass(frozen=True, eq=False)
class MeshEvaluation:
    """The result of an evaluation of meshes.

    Args:
        categories: the K classes, sorted by id.
        objects: what was measured of the objects.
        matches: for each AP the matched detections; None: not all images have what it compares. No APs at all where
            images have one object that is not to be detected.
    """

    categories: Sequence[Category]
    objects: ObjectMeasures
    matches: Mapping[str, VocMatches | None] = field(default_factory=dict)

    @property
    def metrics(self) -> dict[str, float]:
        """The APs, and the means of `ObjectMeasures.means`; -1 where there is nothing to measure."""
        return mesh_numbers(self.objects, self.matches).of_all

    def per_class(self) -> dict[str, dict[str, float]]:
        """By class name: the APs and means of the class, -1 where there is nothing to measure, and the numbers of
        ``objects``, of those that were ``compared``, and of the ``empty_meshes`` that they were compared with."""
        numbers = mesh_numbers(self.objects, self.matches).by_class
        labels, values = self.objects.labels, self.objects.values[:, self.objects.names.index(WITHOUT_FACES)]
        rows = {}
        for k, category in enumerate(self.categories):
            own = values[labels == k]
            rows[category.name] = {name: float(one[k]) for name, one in numbers.items()} | {
                "objects": len(own),
                "compared": int(np.isfinite(own).sum()),
                "empty_meshes": int((own == 1).sum()),
            }
        return rows


class WeightedMeshes(ImageWeighting):
    """The numbers of weighted images.

    Args:
        data: what was measured.
        objects: as of `MeshEvaluation`.
        matches: as of `MeshEvaluation`.
    """

    def __init__(self, data: MeasuredData, objects: ObjectMeasures, matches: Mapping[str, VocMatches | None]) -> None:
        self.data, self.objects, self.matches = data, objects, matches

    def numbers(self, weights: np.ndarray, by_class: bool = False) -> WeightedNumbers:
        """As of `MeshEvaluation`."""
        return mesh_numbers(self.objects, self.matches, weights, by_class)


def mesh_numbers(
    objects: ObjectMeasures,
    matches: Mapping[str, VocMatches | None],
    weights: np.ndarray | None = None,
    by_class: bool = True,
) -> WeightedNumbers:
    """The APs, each the mean over the classes with objects, and the means of the measures.

    Args:
        objects: what was measured.
        matches: by AP.
        weights: float64 ``(I,)`` how often each image counts; None: once.
        by_class: whether those of the classes are needed.
    """
    nothing = np.full(objects.classes, NOTHING_TO_MEASURE)
    of_classes = {
        name: nothing if one is None else one.average_precision(all_point_average, weights)
        for name, one in matches.items()
    }
    of_all = {
        name: float(one[one > NOTHING_TO_MEASURE].mean()) if (one > NOTHING_TO_MEASURE).any() else NOTHING_TO_MEASURE
        for name, one in of_classes.items()
    }
    return WeightedNumbers(
        of_all | objects.means(weights), of_classes | objects.of_classes(weights) if by_class else {}
    )
