"""COCO's evaluation of packed detections: the choice of the backend, and the result."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from detkit.deprecation import warn
from detkit.deprecation.renamed_arguments import takes_old_names
from detkit.errors import InputError
from detkit.evaluation.coco import native_backend, pycocotools_backend
from detkit.evaluation.coco.protocol import NOTHING_TO_MEASURE, PERSON_SIGMAS, PROTOCOLS, Curves, Protocol, protocol_of
from detkit.evaluation.ground_truth import GroundTruth, IouType
from detkit.evaluation.nothing_to_measure import why_no_detections
from detkit.evaluation.packed_objects import PackedDetections
from detkit.ops import backend as ops_backend
from detkit.structures import Category

logger = logging.getLogger(__name__)

Backend = Literal["native", "pycocotools"]

METRICS: dict[str, tuple[str, ...]] = {name: tuple(protocol.numbers) for name, protocol in PROTOCOLS.items()}
"""The names of COCO's numbers, in the order of its table."""


@dataclass(frozen=True, eq=False)
class CocoEvaluation:
    """The result of an evaluation, from which tables and plots are made.

    Args:
        iou_type: what was compared: ``bbox``, ``segm`` or ``keypoints``.
        metrics: COCO's numbers in 0..1 by their names in `METRICS`, -1 where there is nothing to measure.
        categories: the K classes, sorted by id.
        curves: precision, recall and scores, equal to pycocotools' whole arrays.
        protocol: the thresholds, sizes and numbers of detections along the axes of the curves.
        objects: ``(K,)`` number of objects of each class, crowds left out.
        images: ``(K,)`` number of images with such an object.
        ground_truth: what the detections were compared with.
        detections: the detections.
        keypoint_sigmas: ``(J,)`` the spread of each keypoint.
    """

    iou_type: IouType
    metrics: dict[str, float]
    categories: list[Category]
    curves: Curves
    protocol: Protocol
    objects: np.ndarray
    images: np.ndarray
    ground_truth: GroundTruth
    detections: PackedDetections
    keypoint_sigmas: np.ndarray

    def why_nothing(self) -> str | None:
        """A sentence that says why numbers mean nothing; None where they do."""
        truth = self.ground_truth
        objects = np.bincount(truth.objects.categories[~truth.objects.ignored], minlength=len(self.categories))
        return why_no_detections(truth, objects, self.detections)

    @property
    def found(self) -> PackedDetections:
        """The old name of `detections`."""
        warn("CocoEvaluation.found is CocoEvaluation.detections now")
        return self.detections

    @property
    def class_metrics(self) -> tuple[str, ...]:
        """The names of the numbers that `per_class` gives."""
        if self.iou_type == "keypoints":
            return ("AP", "AP50", "APm", "APl", "AR")
        return ("AP", "AP50", "APs", "APm", "APl", "AR100")

    def per_class(self) -> dict[str, dict[str, float]]:
        """By class name: AP, AP50, AP by size, AR100 (keypoints: AR), and the numbers of ``objects`` and ``images``."""
        table = {}
        for k, category in enumerate(self.categories):
            numbers = self.protocol.summarize(self.curves, k)
            table[category.name] = {name: numbers[name] for name in self.class_metrics}
            table[category.name] |= {"objects": int(self.objects[k]), "images": int(self.images[k])}
        return table


CocoEvaluation.__init__ = takes_old_names(CocoEvaluation.__init__)  # type: ignore[method-assign]  # dataclass's own


def evaluate(
    ground_truth: GroundTruth,
    detections: PackedDetections,
    iou_type: IouType,
    keypoint_sigmas: np.ndarray = PERSON_SIGMAS,
    backend: Backend = "native",
) -> CocoEvaluation:
    """Evaluate the detections of all images.

    Args:
        ground_truth: what they are compared with.
        detections: of all images.
        iou_type: compare boxes, masks or keypoints.
        keypoint_sigmas: ``(J,)`` the spread of each keypoint.
        backend: who computes the numbers; without the native kernels it is pycocotools, with a warning.
    """
    protocol = protocol_of(iou_type)
    if not ground_truth.image_ids or not ground_truth.categories:
        curves = _empty_curves(protocol, len(ground_truth.categories))
    elif _resolved(backend) == "native":
        matches = native_backend.match(ground_truth, detections, iou_type, protocol, keypoint_sigmas)
        curves = native_backend.accumulate(ground_truth, detections, matches, protocol)
    else:
        curves = pycocotools_backend.evaluate(ground_truth, detections, iou_type, protocol, keypoint_sigmas)
    objects, images = _count_objects(ground_truth)
    return CocoEvaluation(
        iou_type=iou_type,
        metrics=protocol.summarize(curves),
        categories=ground_truth.categories,
        curves=curves,
        protocol=protocol,
        objects=objects,
        images=images,
        ground_truth=ground_truth,
        detections=detections,
        keypoint_sigmas=keypoint_sigmas,
    )


def check_choices(iou_type: str, backend: str) -> None:
    """Raise an `InputError` that lists the choices, where one is none of them."""
    if iou_type not in METRICS:
        raise InputError(f"iou_type is {iou_type!r}; choose one of {', '.join(METRICS)}")
    if backend not in get_args(Backend):
        raise InputError(f"backend is {backend!r}; choose one of {', '.join(get_args(Backend))}")


def check_native(what: str) -> None:
    """Raise an `InputError` where the native kernels were not built, which `what` needs."""
    if ops_backend() == "reference":
        raise InputError(f"{what} needs detkit's native kernels: install it where there is a C++ compiler")


def sigmas_of(keypoint_sigmas: Sequence[float] | np.ndarray | None, categories: Sequence[Category] = ()) -> np.ndarray:
    """``(J,)`` the given sigmas, else those of the first category that has some, else COCO's 17 of a person."""
    if keypoint_sigmas is None:
        keypoint_sigmas = next((category.sigmas for category in categories if category.sigmas), None)
    return PERSON_SIGMAS if keypoint_sigmas is None else np.array(keypoint_sigmas, dtype=np.float64)


def check_sigmas(ground_truth: GroundTruth, iou_type: IouType, keypoint_sigmas: Sequence[float] | None) -> None:
    """Raise an `InputError` where the annotated keypoints are not as many as the sigmas."""
    if iou_type != "keypoints":
        return
    annotated, sigmas = _number_of_keypoints(ground_truth), len(sigmas_of(keypoint_sigmas, ground_truth.categories))
    if annotated not in (0, sigmas):
        raise InputError(
            f"{ground_truth.source}: its objects have {annotated} keypoints, but there are {sigmas} keypoint_sigmas; "
            "give one for each keypoint"
        )


def _number_of_keypoints(ground_truth: GroundTruth) -> int:
    keypoints = ground_truth.objects.keypoints
    return 0 if keypoints is None else keypoints.shape[1]


def _resolved(backend: Backend) -> Backend:
    if backend == "native" and ops_backend() == "reference":
        _warn_once()
        return "pycocotools"
    return backend


@functools.cache
def _warn_once() -> None:
    logger.warning(
        "detkit's native kernels were not built, so pycocotools evaluates: it gives the same numbers but is slower"
    )


def _empty_curves(protocol: Protocol, classes: int) -> Curves:
    """The curves where there are no images or no categories."""
    thresholds, recalls = len(protocol.iou_thresholds), len(protocol.recall_thresholds)
    rest = (classes, len(protocol.areas), len(protocol.max_detections))
    shapes = ((thresholds, recalls, *rest), (thresholds, *rest), (thresholds, recalls, *rest))
    return Curves(*(np.full(shape, NOTHING_TO_MEASURE) for shape in shapes))


def _count_objects(ground_truth: GroundTruth) -> tuple[np.ndarray, np.ndarray]:
    """``(K,)`` for each class the objects that are no crowd, and the images with such an object."""
    objects, classes = ground_truth.objects, len(ground_truth.categories)
    single = ~objects.iscrowd
    where = np.unique(objects.categories[single] * max(1, len(ground_truth.image_ids)) + objects.images[single])
    images = np.bincount(where // max(1, len(ground_truth.image_ids)), minlength=classes)
    return np.bincount(objects.categories[single], minlength=classes), images
