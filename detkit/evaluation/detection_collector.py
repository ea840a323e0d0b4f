"""The base class of evaluators of detections: it checks and keeps the detections of each image until all have come."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detkit.deprecation import warn
from detkit.errors import InputError
from detkit.evaluation.coco.coco_evaluation import check_sigmas, sigmas_of
from detkit.evaluation.evaluator import Evaluator
from detkit.evaluation.files.annotations_file import read_ground_truth
from detkit.evaluation.files.detections_file import read_detections
from detkit.evaluation.ground_truth import IouType, label_positions, plain_id
from detkit.evaluation.packed_objects import Masks, PackedDetections
from detkit.ops import masks_to_rle
from detkit.structures import Category, Detections, Target


class DetectionCollector(Evaluator):
    """Collects the detections of images; the base of `CocoEvaluator` and `VocEvaluator`.

    Args:
        annotations: as of `CocoEvaluator`.
        iou_type: what is compared.
        categories: as of `CocoEvaluator`.
        image_ids: as of `CocoEvaluator`.
        keypoint_sigmas: as of `CocoEvaluator`.
        limit: the most detections kept per image and class, the highest-scoring ones; None for all.

    Raises:
        InputError: the annotations cannot be evaluated against, or a category is not among theirs.
    """

    answers_called = "detections"

    def __init__(
        self,
        annotations: str | Path | dict,
        iou_type: IouType,
        categories: Sequence[Category] | None,
        image_ids: Iterable[Any] | None,
        keypoint_sigmas: Sequence[float] | None,
        limit: int | None,
    ) -> None:
        super().__init__(annotations, categories)
        self.iou_type, self.limit = iou_type, limit
        self.ground_truth = read_ground_truth(annotations, iou_type, image_ids)
        self.categories = list(self.ground_truth.categories if categories is None else categories)
        check_sigmas(self.ground_truth, iou_type, keypoint_sigmas)
        self.keypoint_sigmas = sigmas_of(keypoint_sigmas, self.ground_truth.categories)
        truth = self.ground_truth
        self._positions = label_positions(self.categories, truth.categories, truth.source)
        self._read: PackedDetections | None = None

    @property
    def positions(self) -> np.ndarray:
        """int64 ``(K,)`` the position of each label's category in the ground truth; -1 for unused labels."""
        return self._positions

    @property
    def ceiling_bounds(self) -> tuple[float, float]:  # type: ignore[override]  # by what is compared
        """Masks and keypoints come back from few cells."""
        return (0.99, 0.8) if self.iou_type == "bbox" else (0.8, 0.5)

    def chance(self) -> float:
        """An untrained detector has an AP below 0.05, and meets one object by luck, which is much of few."""
        return min(0.5, 0.05 + 1 / max(len(self.ground_truth.objects), 1))

    def check_image(self, image_id: Any, source: str) -> None:
        """Raise an `InputError` where the annotations have no such image."""
        self.ground_truth.number_of(image_id, source)

    def keep(self, target: Target, answer: Detections) -> _ImageDetections:
        """The detections of an image, in pixels of the image as the annotations describe it.

        Raises:
            InputError: a label is not of a category, a value is not finite, or masks or keypoints are missing or of
                another size than the image.
        """
        return self._checked(plain_id(target.image_id), answer)

    def reset(self) -> None:
        """Forget all detections; the ground truth stays."""
        super().reset()
        self._read = None

    def state(self) -> dict[Any, dict[str, Any]]:
        """The detections so far by image id, in plain arrays that can be pickled and sent to another process."""
        return {image_id: vars(kept).copy() for image_id, kept in self.kept.items()}

    def merge(self, states: Iterable[dict[Any, dict[str, Any]]]) -> None:
        """Add what other evaluators of the same annotations collected, each image counted once."""
        super().merge({key: _ImageDetections(**kept) for key, kept in state.items()} for state in states)

    def read(self, detections: str | Path | list[dict]) -> None:
        """Take the detections of all images from a file in COCO's results format, or from its content.

        Raises:
            InputError: the file is not in COCO's results format, or an entry cannot be evaluated.
        """
        self._read = read_detections(detections, self.ground_truth, self.iou_type, self.keypoint_sigmas)

    def say_nothing(self, sentence: str | None) -> None:
        """Say why numbers mean nothing, unless only a part of the images has come, as in a trial before a training."""
        if self._read is not None or len(self.kept) in (0, len(self.ground_truth.image_ids)):
            self.warn_once(sentence)

    def detections(self) -> PackedDetections:
        """The detections so far, in the order of the images of the ground truth, or those of a file that was `read`."""
        if self._read is not None:
            return self._read
        numbers = self.ground_truth.image_numbers
        ordered = sorted((numbers[image_id], kept) for image_id, kept in self.kept.items())
        per_image = [kept for _, kept in ordered]
        counts = [len(one.labels) for one in per_image]
        boxes = np.concatenate([np.zeros((0, 4)), *(one.boxes for one in per_image)])  # float64
        boxes[:, 2:] -= boxes[:, :2]
        masks = Masks.concatenated([one.masks for one in per_image]) if self.iou_type == "segm" else None
        no_keypoints = np.zeros((0, len(self.keypoint_sigmas), 3))
        keypoints = [one.keypoints for one in per_image if one.keypoints is not None]
        return PackedDetections.measured(
            images=np.repeat(np.array([number for number, _ in ordered], dtype=np.int64), counts),
            categories=self._positions[
                np.concatenate([np.zeros(0, dtype=np.int64), *(one.labels for one in per_image)])
            ],
            scores=np.concatenate([np.zeros(0), *(one.scores for one in per_image)]),
            boxes=boxes if self.iou_type == "bbox" else None,
            masks=masks,
            keypoints=np.concatenate([no_keypoints, *keypoints]) if self.iou_type == "keypoints" else None,
        )

    def found(self) -> PackedDetections:
        """The old name of `detections`."""
        warn(f"{type(self).__name__}.found is {type(self).__name__}.detections now")
        return self.detections()

    def results(self) -> list[dict[str, Any]]:
        """The detections in COCO's results format, with image and category ids of the annotations.

        With boxes ``bbox`` is ``[x, y, width, height]``. Results with masks or keypoints have no ``bbox``, as COCO
        requires: pycocotools would take the object's area from it instead of from the mask or the keypoints.
        """
        detections = self.detections()
        return [
            {
                "image_id": self.ground_truth.image_ids[detections.images[index]],
                "category_id": self.ground_truth.categories[detections.categories[index]].id,
                **_result_shape(detections, index, self.iou_type),
                "score": float(detections.scores[index]),
            }
            for index in range(len(detections))
        ]

    def _checked(self, image_id: Any, detections: Detections) -> _ImageDetections:
        """The detections that can count: the highest-scoring of each class."""
        where = f"detections of image {image_id!r}"
        scores, labels, boxes = _array(detections.scores), _array(detections.labels), _array(detections.boxes)
        if len(labels) == 0:
            return _ImageDetections.none()
        _check_finite(where, boxes=boxes, scores=scores)
        low, high = int(labels.min()), int(labels.max())
        if low < 0 or high >= len(self.categories):
            raise InputError(
                f"{where}: label {low if low < 0 else high} is outside 0..{len(self.categories) - 1}, "
                f"the labels of the {len(self.categories)} categories; give the evaluator the model's categories"
            )
        kept = _best_of_each_class(scores, labels, self.limit)
        kept = kept[self._positions[labels[kept]] >= 0]
        return _ImageDetections(
            boxes=boxes[kept],
            scores=scores[kept],
            labels=labels[kept],
            masks=self._masks(image_id, detections, where, kept) if self.iou_type == "segm" else None,
            keypoints=self._keypoints(detections, where)[kept] if self.iou_type == "keypoints" else None,
        )

    def _masks(self, image_id: Any, detections: Detections, where: str, kept: np.ndarray) -> Masks:
        if detections.masks is None:
            raise InputError(f"{where} have no masks; evaluate boxes (iou_type bbox) or a model with a mask head")
        size = self.ground_truth.image_sizes.get(image_id)
        if size is not None and tuple(detections.masks.shape[1:]) != size:
            raise InputError(
                f"{where}: masks are {tuple(detections.masks.shape[1:])} while {self.ground_truth.source} "
                f"has the size {size} of the image (height, width); give masks at the size of the image"
            )
        return Masks.of(masks_to_rle(detections.masks[torch.from_numpy(kept)]).to_coco())

    def _keypoints(self, detections: Detections, where: str) -> np.ndarray:
        if detections.keypoints is None:
            raise InputError(
                f"{where} have no keypoints; evaluate boxes (iou_type bbox) or a model with a keypoint head"
            )
        keypoints, sigmas = _array(detections.keypoints), len(self.keypoint_sigmas)
        _check_finite(where, keypoints=keypoints)
        if keypoints.shape[1] != sigmas:
            raise InputError(
                f"{where} have {keypoints.shape[1]} keypoints each, but there are {sigmas} keypoint_sigmas; "
                "give one for each keypoint"
            )
        return keypoints


@dataclass(frozen=True, eq=False)
class _ImageDetections:
    """The detections of one image that can count, as arrays: of each class at most the limit."""

    boxes: np.ndarray
    scores: np.ndarray
    labels: np.ndarray
    masks: Masks | None = None
    keypoints: np.ndarray | None = None

    @classmethod
    def none(cls) -> _ImageDetections:
        """An image without detections."""
        return cls(np.zeros((0, 4), np.float32), np.zeros(0, np.float32), np.zeros(0, np.int64), Masks.of([]))


def _check_finite(where: str, **named: np.ndarray) -> None:
    for name, values in named.items():
        if not np.isfinite(values).all():
            raise InputError(f"{where}: {name} holds a value that is not finite; look for a diverged model")


def _result_shape(detections: PackedDetections, index: int, iou_type: IouType) -> dict[str, Any]:
    """The compared part of one detection, in COCO's results format."""
    if iou_type == "bbox":
        return {"bbox": detections.boxes[index].tolist()}
    if detections.keypoints is not None:
        return {"keypoints": detections.keypoints[index].ravel().tolist()}
    if detections.masks is None:
        raise ValueError("detections have neither masks nor keypoints")
    mask = detections.masks.encoded(index)
    return {"segmentation": {"size": mask["size"], "counts": mask["counts"].decode("ascii")}}


def _best_of_each_class(scores: np.ndarray, labels: np.ndarray, limit: int | None) -> np.ndarray:
    """Ascending indices of each class's `limit` highest-scoring detections; of equal scores the first, as in COCO."""
    if limit is None or len(labels) <= limit:
        return np.arange(len(labels))
    order = np.lexsort((-scores, labels))  # by class, then best first; stable
    grouped = labels[order]
    rank_in_class = np.arange(len(order)) - np.searchsorted(grouped, grouped)
    return np.sort(order[rank_in_class < limit])


def _array(values: Tensor) -> np.ndarray:
    return values.detach().cpu().numpy()
