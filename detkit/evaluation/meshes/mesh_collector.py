"""The base class of evaluators of meshes: it compares all meshes of a batch at once."""

from __future__ import annotations

import zlib
from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from rich.console import RenderableType
from torch import Tensor

from detkit.errors import InputError
from detkit.evaluation.evaluator import Report, ReportOptions
from detkit.evaluation.ground_truth import plain_id
from detkit.evaluation.meshes.given_meshes import check_predicted_meshes
from detkit.evaluation.meshes.mesh_comparison import compare_meshes
from detkit.evaluation.meshes.mesh_evaluation import MeshEvaluation, WeightedMeshes
from detkit.evaluation.meshes.mesh_protocol import SAMPLES, MeshProtocol
from detkit.evaluation.meshes.object_means import (
    WITHOUT_FACES,
    ObjectMeasures,
    measure_names,
    measured_rows,
    unscaled_names,
)
from detkit.evaluation.tables.map_report import map_entry
from detkit.evaluation.tables.mesh_report import mixed_class_table, mixed_numbers_table
from detkit.evaluation.targets.target_collector import TargetCollector
from detkit.evaluation.weighting.image_weighting import MeasuredData
from detkit.evaluation.weighting.intervals import weighted_intervals
from detkit.evaluation.weighting.voc_matches import VocMatches
from detkit.structures import Category, Target
from detkit.structures.meshes import Meshes


@dataclass(frozen=True, eq=False)
class KeptObjects:
    """The T objects of an image.

    Args:
        labels: int64 ``(T,)``.
        values: float64 ``(T, V)`` the measures of each object's prediction, NaN where a measure does not exist.
        facts: float64 ``(T, 10)`` what tells the objects of two data sets apart: the box, and that around the mesh.
    """

    labels: np.ndarray
    values: np.ndarray
    facts: np.ndarray


KeptT = TypeVar("KeptT", bound=KeptObjects)


@dataclass(frozen=True, eq=False)
class ImagePairs(Generic[KeptT]):
    """The P pairs of meshes of an image that are compared.

    Args:
        predicted: P meshes.
        true: P meshes in the same frame and units.
        finish: makes what is kept of the image from the `measured_rows` ``(P, V - 1)`` of the pairs.
    """

    predicted: Meshes
    true: Meshes
    finish: Callable[[np.ndarray], KeptT]


class MeshCollector(TargetCollector, Generic[KeptT]):
    """Compares meshes; the base of `MeshEvaluator` and `SingleMeshEvaluator`.

    Args:
        annotations: as of `TargetCollector`; the truth is the `meshes` of the targets, each with faces.
        categories: as of `TargetCollector`.
        protocol: scale and thresholds.
        samples: points drawn from each mesh.
        seed: of the points; those of an image depend on it and on the image's id alone.

    Attributes:
        title: of the tables.

    Raises:
        InputError: also where `samples` is below 1.
    """

    reads = "meshes"
    unscaled = unscaled_names()
    title: str
    evaluation: MeshEvaluation | None

    def __init__(
        self,
        annotations: str | Path | dict,
        categories: Sequence[Category] | None,
        protocol: MeshProtocol,
        samples: int,
        seed: int,
    ) -> None:
        if samples < 1:
            raise InputError(f"samples is {samples}; draw at least 1 point of each mesh, the paper draws {SAMPLES}")
        super().__init__(annotations, categories)
        self.protocol, self.samples, self.seed = protocol, samples, seed

    @abstractmethod
    def pairs(self, target: Target, answer: Any) -> ImagePairs[KeptT] | None:
        """The meshes of an image to compare; None where its target has no meshes."""

    def keep(self, target: Target, answer: Any) -> KeptT | None:
        """The measures of an image; None where its target has no meshes.

        Raises:
            InputError: the answer has no meshes, or the meshes cannot be compared.
        """
        return next(iter(self.keep_batch([target], [answer])))

    def keep_batch(self, targets: Sequence[Target], answers: Sequence[Any]) -> Iterable[KeptT | None]:
        """As `keep`, for several images at once."""
        prepared = [self.pairs(*pair) for pair in zip(targets, answers, strict=True)]
        seeds = [
            zlib.crc32(f"{self.seed} {plain_id(target.image_id)!r} {row}".encode())
            for target, pairs in zip(targets, prepared, strict=True)
            for row in range(0 if pairs is None else len(pairs.true))
        ]
        some = [pairs for pairs in prepared if pairs is not None]
        filled = [pairs for pairs in some if len(pairs.true)]  # the others may be on another device
        predicted, true = (Meshes.cat([getattr(pairs, side) for pairs in filled]) for side in ("predicted", "true"))
        rows = measured_rows(compare_meshes(predicted, true, self.protocol, self.samples, seeds))
        parts = iter(np.split(rows, np.cumsum([len(pairs.true) for pairs in some])))
        return [None if pairs is None else pairs.finish(next(parts)) for pairs in prepared]

    def matches(self, kept: Sequence[KeptT]) -> Mapping[str, VocMatches | None]:
        """As of `MeshEvaluation`. A subclass whose answers are detections implements it."""
        return {}

    def evaluate(self) -> MeshEvaluation:
        """The numbers of all images that have meshes and an answer."""
        _, kept = self.measured()
        return MeshEvaluation(self.truth.categories, self.measures(kept), self.matches(kept))

    def image_weighting(self) -> WeightedMeshes:
        """The numbers of weighted images, whose meshes are not compared again.

        Raises:
            InputError: there are no images.
        """
        ids, kept = self.measured()
        self.check_measured(ids)
        return WeightedMeshes(self.measured_data(ids, kept), self.measures(kept), self.matches(kept))

    def report(self, evaluation: MeshEvaluation, options: ReportOptions) -> Report:
        """The numbers, those of each class, and confidence intervals."""
        intervals = None
        if options.bootstrap:
            intervals = weighted_intervals(self.image_weighting(), options.bootstrap, unscaled=self.unscaled)
        tables: list[RenderableType] = [mixed_numbers_table(self.title, evaluation.metrics, self.scale_of, intervals)]
        if options.per_class:
            tables.append(mixed_class_table(f"{self.title} by class", evaluation.per_class(), self.scale_of))
        return Report(tables, map_entry(evaluation, options.per_class, intervals))

    def measures(self, kept: Sequence[KeptT]) -> ObjectMeasures:
        """What was measured of the objects of all images; says once how many predictions have no faces."""
        names = measure_names(self.protocol.thresholds)
        values = np.concatenate([np.zeros((0, len(names))), *(one.values for one in kept)])
        compared = values[np.isfinite(values[:, names.index(WITHOUT_FACES)]), names.index(WITHOUT_FACES)]
        if compared.any():
            self.warn_once(
                f"{self.name}: {int(compared.sum())} of {len(compared)} compared meshes have no faces: their F1 is 0, "
                "and they are no part of the means of distances and normals"
            )
        images, labels = self.images_and_labels(kept)
        return ObjectMeasures(names, images, labels, values, len(self.truth.categories))

    def measured_data(self, ids: Sequence[Any], kept: Sequence[KeptT]) -> MeasuredData:
        """The objects of all images."""
        images, labels = self.images_and_labels(kept)
        return MeasuredData(
            source=self.truth.source,
            image_ids=ids,
            classes=self.truth.class_names,
            images=images,
            labels=labels,
            values=np.concatenate([np.zeros((0, 10)), *(one.facts for one in kept)]),
            image_names={one: self.truth.image_names[one] for one in ids if one in self.truth.image_names},
            settings={"protocol": repr(self.protocol), "samples": self.samples},
        )

    def images_and_labels(self, kept: Sequence[KeptT]) -> tuple[np.ndarray, np.ndarray]:
        """int64 ``(M,)`` each: the image of each object, as a position, and its class."""
        images = np.repeat(np.arange(len(kept)), [len(one.labels) for one in kept])
        return images, np.concatenate([np.zeros(0, dtype=np.int64), *(one.labels for one in kept)])

    def check_labels(self, image_id: Any, owner: str, labels: np.ndarray, classes: int) -> None:
        """Raise an `InputError` where a label of the `owner`, target or answer, is not in 0 to `classes` - 1."""
        wrong = labels[(labels < 0) | (labels >= classes)]
        if len(wrong):
            raise InputError(
                f"image {image_id!r}: the {owner} has the label {wrong[0]}, but there are only {classes} classes; give "
                "the evaluator the annotations of the data and the model's categories"
            )

    def meshes_of(self, image_id: Any, answer: Any) -> Meshes:
        """The meshes of an answer.

        Raises:
            InputError: it has none, or a vertex is not finite.
        """
        meshes: Meshes | None = getattr(answer, "meshes", None)
        if meshes is None:
            raise InputError(
                f"the answer for image {image_id!r} is a {type(answer).__name__} without meshes: evaluate a model that "
                "gives them"
            )
        check_predicted_meshes(meshes, f"image {image_id!r}: predicted mesh")
        return meshes.to(dtype=torch.float32)


def facts_of(meshes: Meshes, boxes: Tensor | None) -> np.ndarray:
    """float64 ``(T, 10)`` of `KeptObjects`: boxes, 0 without, then the corners of the boxes around the meshes."""
    limits = [vertices.aminmax(dim=0) for vertices in meshes.vertices_list()]
    corners = [torch.cat([one.min, one.max]).double().cpu() for one in limits]
    around = torch.stack(corners) if corners else torch.zeros(0, 6, dtype=torch.float64)
    own = torch.zeros(len(meshes), 4) if boxes is None else boxes
    facts: np.ndarray = torch.cat([own.double().cpu(), around], dim=1).numpy()
    return facts
