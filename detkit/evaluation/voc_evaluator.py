"""The evaluator of PASCAL VOC's metric: AP at one IoU threshold, with 11 points (2007) or all points (2010 on).

The definition is that of the development kits' ``VOCevaldet.m`` and ``VOCap.m`` (Everingham et al., "The PASCAL Visual
Object Classes (VOC) Challenge", 2010, section 4.2). The kits count pixels from 1 and a box's width as
``xmax - xmin + 1``; with our continuous boxes ``xmin - 1, ymin - 1, xmax, ymax`` that is ``x2 - x1``, so that the IoU
here is theirs without a +1. Only COCO's number is called AP without a word more: the mean over the classes is ``mAP``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np

from detkit.errors import InputError
from detkit.evaluation.coco.protocol import NOTHING_TO_MEASURE
from detkit.evaluation.detection_collector import DetectionCollector
from detkit.evaluation.evaluator import Report, ReportOptions
from detkit.evaluation.ground_truth import GroundTruth
from detkit.evaluation.nothing_to_measure import check_has_objects, why_no_detections
from detkit.evaluation.packed_objects import PackedDetections, PackedObjects
from detkit.evaluation.pair_iou import pair_box_iou
from detkit.evaluation.tables.detection_report import metrics_entry, voc_table
from detkit.evaluation.weighting.measured_objects import measured_objects
from detkit.evaluation.weighting.voc_matches import VocMatches, WeightedVoc
from detkit.structures import Category

VocProtocol = Literal["voc2007", "voc2010"]

_ELEVEN_RECALLS = 0.1 * np.arange(11)  # in floating point, as the kits count: a recall of 3 / 10 is below 3 * 0.1


@dataclass(frozen=True, eq=False)
class VocEvaluation:
    """The result of a VOC evaluation.

    Args:
        protocol: ``voc2007`` or ``voc2010``.
        categories: the K classes, sorted by id.
        average_precision: ``(K,)`` in 0..1, -1 for a class without objects.
        recall: for each class, over its D detections from the highest-scoring on, ``(D,)``.
        precision: likewise.
        objects: ``(K,)`` number of objects that must be detected.
        difficult: ``(K,)`` number of objects that need not be.
        images: ``(K,)`` number of images with an object that must be detected.
    """

    protocol: VocProtocol
    categories: list[Category]
    average_precision: np.ndarray
    recall: list[np.ndarray]
    precision: list[np.ndarray]
    objects: np.ndarray
    difficult: np.ndarray
    images: np.ndarray

    @property
    def metrics(self) -> dict[str, float]:
        """``mAP``, the mean over the classes that have objects; -1 where none has."""
        measured = self.average_precision[self.objects > 0]
        return {"mAP": float(measured.mean()) if len(measured) else NOTHING_TO_MEASURE}

    def per_class(self) -> dict[str, dict[str, float]]:
        """By class name: AP, and the numbers of ``objects``, ``difficult`` ones and ``images``."""
        columns = zip(self.average_precision, self.objects, self.difficult, self.images, strict=True)
        return {
            category.name: {"AP": float(ap), "objects": int(objects), "difficult": int(hard), "images": int(images)}
            for category, (ap, objects, hard, images) in zip(self.categories, columns, strict=True)
        }


class VocEvaluator(DetectionCollector):
    """Collects the detections of images and evaluates their boxes as PASCAL VOC does.

    A detection belongs to the object of its class and image that it overlaps most. If that IoU reaches the threshold,
    the highest-scoring detection of the object is a true positive and all others are false positives; those of a
    difficult object are neither. A detection below the threshold is a false positive. Detections of equal scores are
    ordered by the order of the images in the ground truth, then as they were given.

    Args:
        annotations: ground truth in COCO's form, with ``difficult`` in the annotations, such as
            ``VocDataset.ground_truth()``, or the path of such a file. Crowd regions count as difficult.
        protocol: ``voc2007`` averages the best precision at recalls of at least 0, 0.1 … 1; ``voc2010`` is the area
            under precision made monotonous.
        iou_threshold: 0.5 in VOC.
        categories: as for `CocoEvaluator`.
        image_ids: as for `CocoEvaluator`.

    Raises:
        InputError: the annotations cannot be evaluated against, or a category is not among theirs.
    """

    reads = "boxes"
    headline = "mAP"
    scale = 100.0
    extras = frozenset({"save_detections"})
    evaluation: VocEvaluation | None

    def __init__(
        self,
        annotations: str | Path | dict,
        protocol: VocProtocol = "voc2010",
        iou_threshold: float = 0.5,
        categories: Sequence[Category] | None = None,
        image_ids: Iterable[Any] | None = None,
    ) -> None:
        check_protocol(protocol)
        if not 0 < iou_threshold <= 1:
            raise InputError(f"iou_threshold is {iou_threshold}; choose one above 0 and up to 1, VOC's is 0.5")
        self.name = self.protocol = protocol
        self.iou_threshold = iou_threshold
        super().__init__(annotations, "bbox", categories, image_ids, keypoint_sigmas=None, limit=None)

    def compute(self) -> dict[str, float]:
        """``mAP`` in 0..1, and ``AP/{class}`` of each class; -1 where there is no object to measure with."""
        metrics = super().compute()
        classes = self.evaluation.per_class() if self.evaluation else {}
        return metrics | {f"AP/{name}": row["AP"] for name, row in classes.items()}

    def evaluate(self) -> VocEvaluation:
        """As `compute`, with the curves and the numbers of each class."""
        detections = self.detections()
        evaluation = evaluate_voc(self.ground_truth, detections, self.protocol, self.iou_threshold)
        self.say_nothing(why_no_detections(self.ground_truth, evaluation.objects, detections))
        return evaluation

    def image_weighting(self) -> WeightedVoc:
        """VOC's numbers of weighted images."""
        check_has_objects(self.ground_truth)
        truth, ignored = self.ground_truth, _ignored(self.ground_truth.objects)
        data = measured_objects(truth, {"iou_threshold": self.iou_threshold})
        matches = _matches(truth, self.detections(), ignored, self.iou_threshold)
        return WeightedVoc(data, matches, _AVERAGES[self.protocol])

    def report(self, evaluation: VocEvaluation, options: ReportOptions) -> Report:
        """The table of the classes and their mean."""
        return Report([voc_table(evaluation)], metrics_entry(evaluation, options.per_class))


def check_protocol(protocol: str) -> None:
    """Raise an `InputError` that lists the choices, where `protocol` is none of them."""
    if protocol not in get_args(VocProtocol):
        raise InputError(f"protocol is {protocol!r}; choose one of {', '.join(get_args(VocProtocol))}")


def evaluate_voc(
    ground_truth: GroundTruth,
    detections: PackedDetections,
    protocol: VocProtocol = "voc2010",
    iou_threshold: float = 0.5,
) -> VocEvaluation:
    """Evaluate the boxes of all images; see `VocEvaluator`."""
    objects, classes = ground_truth.objects, len(ground_truth.categories)
    ignored = _ignored(objects)
    matches = _matches(ground_truth, detections, ignored, iou_threshold)
    recall, precision, counts = matches.curves()
    return VocEvaluation(
        protocol=protocol,
        categories=ground_truth.categories,
        average_precision=matches.average_precision(_AVERAGES[protocol]),
        recall=recall,
        precision=precision,
        objects=counts,
        difficult=np.bincount(objects.categories[ignored], minlength=classes),
        images=_images_of_classes(objects, ~ignored, classes),
    )


def eleven_point_average(recall: np.ndarray, precision: np.ndarray) -> float:
    """VOC 2007's average precision of a class, from its curves over D detections ``(D,)``: the mean over 11 recalls of
    the best precision at this or a higher recall."""
    best = np.where(recall >= _ELEVEN_RECALLS[:, None], precision, 0.0).max(axis=1, initial=0.0)
    return float(best.mean())


def all_point_average(recall: np.ndarray, precision: np.ndarray) -> float:
    """The average precision of a class from VOC 2010 on: the area under the best precision at a recall or higher."""
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    return float((np.diff(recall, prepend=0.0) * envelope).sum())


_AVERAGES = {"voc2007": eleven_point_average, "voc2010": all_point_average}


def _ignored(objects: PackedObjects) -> np.ndarray:
    """bool ``(N,)`` the objects that need not be detected."""
    return objects.iscrowd if objects.difficult is None else objects.difficult | objects.iscrowd


def _matches(truth: GroundTruth, detections: PackedDetections, ignored: np.ndarray, iou_threshold: float) -> VocMatches:
    """The detections by class, best first, matched to the objects."""
    objects, classes = truth.objects, len(truth.categories)
    order = np.lexsort((-detections.scores, detections.categories))  # stable
    correct, wrong = _match(objects, ignored, detections, order, max(classes, 1), iou_threshold)
    ends = np.searchsorted(detections.categories[order], np.arange(classes + 1))
    counted = ~ignored
    return VocMatches(
        detections.images[order], correct, wrong, ends, objects.images[counted], objects.categories[counted]
    )


def _match(
    objects: PackedObjects,
    ignored: np.ndarray,
    detections: PackedDetections,
    order: np.ndarray,
    classes: int,
    iou_threshold: float,
) -> tuple[np.ndarray, np.ndarray]:
    """The true positives and the false positives among the detections in `order`: bool ``(D,)`` each."""
    nearest, overlap = _nearest_objects(objects, detections, classes)
    nearest, overlap = nearest[order], overlap[order]
    is_near = overlap >= iou_threshold
    counts = is_near.copy()
    counts[is_near] = ~ignored[nearest[is_near]]
    first = np.unique(nearest[counts], return_index=True)[1]  # of each object, in `order`
    correct = np.zeros(len(order), dtype=bool)
    correct[np.flatnonzero(counts)[first]] = True
    return correct, ~is_near | (counts & ~correct)


def _nearest_objects(
    objects: PackedObjects, detections: PackedDetections, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """The object of its image and class that each detection overlaps most, the first of equals, and their IoU:
    ``(D,)`` each; IoU 0 where there is no such object."""
    keys = objects.images * classes + objects.categories
    sorted_objects = np.argsort(keys, kind="stable")
    detection_keys = detections.images * classes + detections.categories
    begin, end = (np.searchsorted(keys[sorted_objects], detection_keys, side) for side in ("left", "right"))
    counts = end - begin
    starts = np.cumsum(counts) - counts
    detection = np.repeat(np.arange(len(detections)), counts)
    candidate = sorted_objects[np.arange(len(detection)) - np.repeat(starts - begin, counts)]
    ious = pair_box_iou(detections.boxes[detection], objects.boxes[candidate])
    nearest, overlap = np.zeros(len(detections), dtype=np.int64), np.zeros(len(detections))
    has_any = np.flatnonzero(counts)
    if len(has_any):
        overlap[has_any] = np.maximum.reduceat(ious, starts[has_any])
        best = np.flatnonzero(ious == overlap[detection])
        rows, first = np.unique(detection[best], return_index=True)
        nearest[rows] = candidate[best[first]]
    return nearest, overlap


def _images_of_classes(objects: PackedObjects, counted: np.ndarray, classes: int) -> np.ndarray:
    """``(K,)`` for each class the number of images with an object that counts."""
    pairs = np.unique(np.stack([objects.categories[counted], objects.images[counted]]), axis=1)
    return np.bincount(pairs[0], minlength=classes)
