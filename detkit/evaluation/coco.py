"""COCO's evaluation: detections and ground truth become the twelve numbers of its table.

The definition is that of https://cocodataset.org/#detection-eval, and pycocotools computes it: AP here is what COCO
calls AP, the mean over ten IoU thresholds, 101 recalls and all classes that have objects.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from pycocotools import mask as rle_masks
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval
from torch import Tensor

from detkit.errors import InputError
from detkit.evaluation.ground_truth import GroundTruth, IouType, plain_id, read_ground_truth, silence
from detkit.structures import Category, Detections

METRICS: dict[str, tuple[str, ...]] = {
    "bbox": ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"),
    "segm": ("AP", "AP50", "AP75", "APs", "APm", "APl", "AR1", "AR10", "AR100", "ARs", "ARm", "ARl"),
    "keypoints": ("AP", "AP50", "AP75", "APm", "APl", "AR", "AR50", "AR75", "ARm", "ARl"),
}
"""The names of COCO's numbers, in the order of its table."""

NOTHING_TO_MEASURE = -1.0
"""The value of a number that no object can decide, as in COCO's table: never NaN, and not 0, a bad detector."""


@dataclass(frozen=True, eq=False)
class CocoEvaluation:
    """The outcome of an evaluation, from which tables and plots are made.

    Args:
        iou_type: what was compared: ``bbox``, ``segm`` or ``keypoints``.
        metrics: COCO's numbers in 0..1 by their names in `METRICS`, -1 where there is nothing to measure.
        categories: the K classes, sorted by id.
        precision: ``(T, R, K)`` over all areas at the largest number of detections, -1 for a class without objects.
        recall: ``(T, K)`` as reached with all these detections.
        iou_thresholds: ``(T,)``, 0.50 to 0.95.
        recall_thresholds: ``(R,)``, 0 to 1.
        objects: ``(K,)`` number of objects of each class, crowds left out.
        images: ``(K,)`` number of images with such an object.
    """

    iou_type: IouType
    metrics: dict[str, float]
    categories: list[Category]
    precision: np.ndarray
    recall: np.ndarray
    iou_thresholds: np.ndarray
    recall_thresholds: np.ndarray
    objects: np.ndarray
    images: np.ndarray

    @property
    def class_metrics(self) -> tuple[str, ...]:
        """The names of the numbers that `per_class` gives."""
        return ("AP", "AP50", "AR" if self.iou_type == "keypoints" else "AR100")

    def per_class(self) -> dict[str, dict[str, float]]:
        """By class name: AP, AP50, AR100 (keypoints: AR), and the numbers of ``objects`` and ``images``."""
        table = {}
        for k, category in enumerate(self.categories):
            scores = (self.precision[:, :, k], self.precision[0, :, k], self.recall[:, k])
            table[category.name] = dict(zip(self.class_metrics, map(_mean_of_measured, scores), strict=True))
            table[category.name] |= {"objects": int(self.objects[k]), "images": int(self.images[k])}
        return table


class CocoEvaluator:
    """Collects the detections of images and evaluates them as COCO does.

    Every image of the annotations counts; one that is never updated is an image without detections. An image that is
    updated twice keeps the later detections. Of each class in each image the best 100 are kept (keypoints: 20), which
    are all that COCO looks at.

    Args:
        annotations: path of a COCO annotation file, or the dict that it holds; read once and never changed. Missing
            ``area``, ``iscrowd`` and ``info`` are filled in (see `read_ground_truth`).
        iou_type: compare boxes, masks or keypoints.
        backend: who computes the numbers.
        categories: ``categories[k]`` is the category of label ``k``; they are found among those of the annotations by
            name, so that ids may differ. Default: the annotations' own, sorted by id.
        image_ids: evaluate on these images alone; all of the annotations by default.
        keypoint_sigmas: the spread of each of the J keypoints in COCO's keypoint similarity; default: COCO's 17 of a
            person.

    Raises:
        InputError: the annotations cannot be evaluated against, or a category is not among theirs.
    """

    def __init__(
        self,
        annotations: str | Path | dict,
        iou_type: IouType = "bbox",
        backend: Literal["pycocotools"] = "pycocotools",
        categories: Sequence[Category] | None = None,
        image_ids: Iterable[Any] | None = None,
        keypoint_sigmas: Sequence[float] | None = None,
    ) -> None:
        if iou_type not in METRICS:
            raise InputError(f"iou_type is {iou_type!r}; choose one of {', '.join(METRICS)}")
        if backend != "pycocotools":
            raise InputError(f"backend is {backend!r}; choose pycocotools")
        self.iou_type = iou_type
        self.ground_truth = read_ground_truth(annotations, iou_type, image_ids)
        self.categories = list(self.ground_truth.categories if categories is None else categories)
        self.keypoint_sigmas = keypoint_sigmas
        check_sigmas(self.ground_truth, iou_type, keypoint_sigmas)
        self._category_ids = _category_ids(self.categories, self.ground_truth)
        self._detections: dict[Any, _ImageDetections] = {}

    def update(self, image_ids: Sequence[Any] | Tensor, detections: Sequence[Detections]) -> None:
        """Add the detections of some images, in pixels of the images as the annotations describe them.

        Raises:
            InputError: an image id is not in the annotations, a label is not of a category, a value is not finite, or
                masks or keypoints are missing or of another size than the image.
        """
        if len(image_ids) != len(detections):
            raise InputError(f"update() got {len(image_ids)} image ids for the detections of {len(detections)} images")
        for image_id, found in zip(map(plain_id, image_ids), detections, strict=True):
            self.ground_truth.number_of(image_id, "detections")
            self._check(image_id, found)
            self._detections[image_id] = _ImageDetections.of(found, self.iou_type)

    def reset(self) -> None:
        """Forget all detections; the ground truth stays."""
        self._detections = {}

    def state(self) -> dict[Any, dict[str, Any]]:
        """The detections so far by image id, in plain arrays that can be pickled and sent to another process."""
        return {image_id: vars(found).copy() for image_id, found in self._detections.items()}

    def merge(self, states: Iterable[dict[Any, dict[str, Any]]]) -> None:
        """Add what other evaluators of the same annotations collected, each image counted once."""
        for state in states:
            for image_id, found in state.items():
                self.ground_truth.number_of(image_id, "merged state")
                self._detections[image_id] = _ImageDetections(**found)

    def compute(self) -> dict[str, float]:
        """COCO's numbers in 0..1 by name, ``AP AP50 AP75 APs APm APl AR1 AR10 AR100 ARs ARm ARl`` or, for keypoints,
        ``AP AP50 AP75 APm APl AR AR50 AR75 ARm ARl``; -1 where the ground truth has no object to measure with."""
        return self.evaluate().metrics

    def evaluate(self) -> CocoEvaluation:
        """As `compute`, with the curves and the numbers of each class."""
        return evaluate_results(self.ground_truth, self._numbered_results(), self.iou_type, self.keypoint_sigmas)

    def results(self) -> list[dict[str, Any]]:
        """The detections in COCO's results format, with image and category ids of the annotations.

        With boxes ``bbox`` is ``[x, y, width, height]``. Results with masks or keypoints have no ``bbox``, as COCO
        wants them: pycocotools would take the object's area from it instead of from the mask or the keypoints.
        """
        names = self.ground_truth.image_ids
        return [result | {"image_id": names[result["image_id"]]} for result in self._numbered_results()]

    def _numbered_results(self) -> list[dict[str, Any]]:
        """The results with images by number, in the order of the images."""
        numbers = self.ground_truth.image_numbers
        ordered = sorted(self._detections.items(), key=lambda item: numbers[item[0]])
        return [
            {"image_id": numbers[image_id], "category_id": self._category_ids[label], **result}
            for image_id, found in ordered
            for label, result in found.results(self.iou_type)
        ]

    def _check(self, image_id: Any, found: Detections) -> None:
        place = f"detections of image {image_id!r}"
        if len(found) == 0:
            return
        for name in ("boxes", "scores", "keypoints") if self.iou_type == "keypoints" else ("boxes", "scores"):
            values = getattr(found, name)
            if values is not None and not bool(values.isfinite().all()):
                raise InputError(f"{place}: {name} holds a value that is not finite; look for a diverged model")
        low, high = int(found.labels.min()), int(found.labels.max())
        if low < 0 or high >= len(self.categories):
            raise InputError(
                f"{place}: label {low if low < 0 else high} is outside 0..{len(self.categories) - 1}, "
                f"the labels of the {len(self.categories)} categories; give the evaluator the model's categories"
            )
        if self.iou_type == "segm":
            self._check_masks(image_id, found, place)
        if self.iou_type == "keypoints":
            self._check_keypoints(found, place)

    def _check_masks(self, image_id: Any, found: Detections, place: str) -> None:
        if found.masks is None:
            raise InputError(f"{place} have no masks; evaluate boxes (iou_type bbox) or a model with a mask head")
        size = self.ground_truth.image_sizes.get(image_id)
        if size is not None and tuple(found.masks.shape[1:]) != size:
            raise InputError(
                f"{place}: masks are {tuple(found.masks.shape[1:])} while {self.ground_truth.source} "
                f"says that the image is {size} (height, width); give masks at the size of the image"
            )

    def _check_keypoints(self, found: Detections, place: str) -> None:
        if found.keypoints is None:
            raise InputError(
                f"{place} have no keypoints; evaluate boxes (iou_type bbox) or a model with a keypoint head"
            )
        wanted = len(sigmas_of(self.keypoint_sigmas))
        if found.keypoints.shape[1] != wanted:
            raise InputError(
                f"{place} have {found.keypoints.shape[1]} keypoints each, but there are {wanted} keypoint_sigmas; "
                "give one for each keypoint"
            )


def evaluate_results(
    ground_truth: GroundTruth,
    results: list[dict[str, Any]],
    iou_type: IouType,
    keypoint_sigmas: Sequence[float] | None = None,
) -> CocoEvaluation:
    """Let pycocotools judge results whose images are numbered as in `ground_truth`; the results are changed."""
    judge = COCOeval(ground_truth.coco, _index_results(ground_truth, results), iou_type)
    if iou_type == "keypoints":
        judge.params.kpt_oks_sigmas = sigmas_of(keypoint_sigmas)
    if ground_truth.image_ids and ground_truth.categories:
        with silence():
            judge.evaluate()
            judge.accumulate()
            judge.summarize()
        stats, precision, recall = judge.stats, judge.eval["precision"][..., 0, -1], judge.eval["recall"][..., 0, -1]
    else:
        stats, precision, recall = _nothing(judge, len(METRICS[iou_type]), len(ground_truth.categories))
    objects, images = _count_objects(ground_truth)
    return CocoEvaluation(
        iou_type=iou_type,
        metrics={name: float(value) for name, value in zip(METRICS[iou_type], stats, strict=True)},
        categories=ground_truth.categories,
        precision=precision,
        recall=recall,
        iou_thresholds=judge.params.iouThrs,
        recall_thresholds=judge.params.recThrs,
        objects=objects,
        images=images,
    )


def sigmas_of(keypoint_sigmas: Sequence[float] | None) -> np.ndarray:
    """``(J,)`` the given sigmas, or COCO's of the 17 keypoints of a person."""
    if keypoint_sigmas is None:
        return COCOeval(iouType="keypoints").params.kpt_oks_sigmas
    return np.asarray(keypoint_sigmas, dtype=float)


def check_sigmas(ground_truth: GroundTruth, iou_type: IouType, keypoint_sigmas: Sequence[float] | None) -> None:
    """Raise an `InputError` where the annotated keypoints are not as many as the sigmas."""
    if iou_type != "keypoints":
        return
    wanted = len(sigmas_of(keypoint_sigmas))
    for annotation in ground_truth.coco.dataset["annotations"]:
        found = len(annotation["keypoints"]) // 3
        if found not in (0, wanted):
            raise InputError(
                f"{ground_truth.source}: an annotation of image {ground_truth.image_ids[annotation['image_id']]!r} has "
                f"{found} keypoints, but there are {wanted} keypoint_sigmas; give one for each keypoint"
            )


@dataclass(frozen=True, eq=False)
class _ImageDetections:
    """The detections of one image that evaluation can need, without tensors: N per class at most 100."""

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    masks: list[dict] | None = None
    keypoints: np.ndarray | None = None

    @classmethod
    def of(cls, found: Detections, iou_type: IouType) -> _ImageDetections:
        kept = _best_of_each_class(
            _array(found.scores), _array(found.labels), limit=20 if iou_type == "keypoints" else 100
        )
        return cls(
            boxes=_array(found.boxes)[kept],
            scores=_array(found.scores)[kept],
            labels=_array(found.labels)[kept],
            masks=[_encode(found.masks[index]) for index in kept.tolist()] if iou_type == "segm" else None,
            keypoints=_array(found.keypoints)[kept] if iou_type == "keypoints" and len(kept) else None,
        )

    def results(self, iou_type: IouType) -> Iterable[tuple[int, dict[str, Any]]]:
        """``(label, result)`` of each detection; the result in COCO's format without its ids."""
        boxes = self.boxes.astype(float)
        boxes[:, 2:] -= boxes[:, :2]
        for index, (label, score) in enumerate(zip(self.labels.tolist(), self.scores.tolist(), strict=True)):
            if iou_type == "bbox":
                shape = {"bbox": boxes[index].tolist()}
            elif iou_type == "segm":
                mask = self.masks[index]
                shape = {"segmentation": {"size": list(mask["size"]), "counts": mask["counts"].decode("ascii")}}
            else:
                shape = {"keypoints": self.keypoints[index].ravel().tolist()}
            yield label, shape | {"score": score}


def _best_of_each_class(scores: np.ndarray, labels: np.ndarray, limit: int) -> np.ndarray:
    """Ascending indices of the `limit` best detections of each class; of equal scores the first, as COCO sorts them."""
    if len(labels) <= limit:
        return np.arange(len(labels))
    order = np.lexsort((-scores, labels))  # by class, then best first; stable
    grouped = labels[order]
    rank_in_class = np.arange(len(order)) - np.searchsorted(grouped, grouped)
    return np.sort(order[rank_in_class < limit])


def _array(values: Tensor) -> np.ndarray:
    return values.detach().cpu().numpy()


def _encode(mask: Tensor) -> dict:
    return rle_masks.encode(np.asfortranarray(_array(mask).astype(np.uint8)))


def _category_ids(categories: Sequence[Category], ground_truth: GroundTruth) -> list[int]:
    """The annotations' category id of each label, found by name."""
    known = {category.name: category.id for category in ground_truth.categories}
    unknown = [category.name for category in categories if category.name not in known]
    if unknown:
        raise InputError(
            f"the model's category {unknown[0]!r} is not in {ground_truth.source}: the model has "
            f"{[category.name for category in categories]}, the annotations have {list(known)}; "
            "rename the categories or take the annotations that the model was trained for"
        )
    same = {(category.id, category.name) for category in ground_truth.categories}
    return [c.id if (c.id, c.name) in same else known[c.name] for c in categories]


def _index_results(ground_truth: GroundTruth, results: list[dict[str, Any]]) -> COCO:
    """pycocotools' index of the results."""
    if results and "bbox" in results[0]:
        for result in results:
            result.setdefault("segmentation", [])  # else pycocotools makes a polygon of every box
    with silence():
        if results:
            return ground_truth.coco.loadRes(results)
        empty = COCO()
        empty.dataset = ground_truth.coco.dataset | {"annotations": []}
        empty.createIndex()
        return empty


def _nothing(judge: COCOeval, numbers: int, classes: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Numbers, precision and recall where there are no images or no categories."""
    thresholds, recalls = len(judge.params.iouThrs), len(judge.params.recThrs)
    shapes = ((numbers,), (thresholds, recalls, classes), (thresholds, classes))
    return tuple(np.full(shape, NOTHING_TO_MEASURE) for shape in shapes)


def _count_objects(ground_truth: GroundTruth) -> tuple[np.ndarray, np.ndarray]:
    """``(K,)`` objects that are no crowd, and images that have one, of each class."""
    found = [(a["category_id"], a["image_id"]) for a in ground_truth.coco.dataset["annotations"] if not a["iscrowd"]]
    objects = Counter(category_id for category_id, _ in found)
    images = Counter(category_id for category_id, _ in set(found))
    ids = [category.id for category in ground_truth.categories]
    return np.array([objects[key] for key in ids], dtype=int), np.array([images[key] for key in ids], dtype=int)


def _mean_of_measured(values: np.ndarray) -> float:
    measured = values[values > NOTHING_TO_MEASURE]
    return float(measured.mean()) if measured.size else NOTHING_TO_MEASURE
