"""The evaluator of semantic segmentation: mean IoU and what belongs to it, from one integer confusion matrix."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import RenderableType
from torch import Tensor

from detkit.errors import InputError
from detkit.evaluation.evaluator import Report, ReportOptions
from detkit.evaluation.maps.map_collector import MapCollector
from detkit.evaluation.semantic.boundary_iou import DISTANCE_RATIO, boundary_confusion
from detkit.evaluation.semantic.class_pixels import ClassPixels
from detkit.evaluation.semantic.id_map_folder import MapFolder
from detkit.evaluation.semantic.semantic_evaluation import SemanticEvaluation, WeightedSemantic
from detkit.evaluation.tables.confusion_report import confusion_table, write_confusion
from detkit.evaluation.tables.map_report import class_numbers_table, map_entry, numbers_table
from detkit.evaluation.weighting.image_weighting import MeasuredData
from detkit.evaluation.weighting.intervals import weighted_intervals
from detkit.ops.maps.label_confusion import label_confusion
from detkit.structures import Category, SemanticMap, Target
from detkit.structures.image_fields import IGNORE_INDEX


@dataclass(frozen=True, eq=False)
class _ImagePixels:
    """The confusion matrices of an image, of which most cells are empty.

    Args:
        cells: those that are not, of the flattened ``(T, T + 1)`` matrix.
        counts: the pixels of each.
        boundary_cells: likewise of the ``(T + 1, T + 1)`` matrix of the boundaries; None: not computed.
        boundary_counts: likewise.
    """

    cells: np.ndarray
    counts: np.ndarray
    boundary_cells: np.ndarray | None = None
    boundary_counts: np.ndarray | None = None


class SemanticEvaluator(MapCollector):
    """Compares label maps, and computes mean IoU, accuracies and Dice from the pixels of all images.

    A pixel whose truth is void (255, or -1 in int16) does not count; one whose answer is void is wrong. A class that
    neither the truth nor the answers have is no part of the means.

    Args:
        annotations: path of a COCO file with the images and categories of the data, or its content. The truth is the
            `label_map` of the targets.
        categories: ``categories[k]`` is the class of label ``k`` of the answers; they are matched to those of the
            annotations by name. Default: the annotations' own, sorted by id.
        boundary_iou: also compute boundary IoU, which takes more than ten times as long.
        boundary_ratio: of the boundary's width to the image's diagonal.
        truth_maps: the folder of the true label maps, as of `MapFolder`, for answers that are `read` from files.

    Raises:
        InputError: the annotations cannot be read, a category is not among theirs, or the ratio is out of range.
    """

    name = "semantic"
    reads = "label_map"
    headline = "mIoU"
    extras = frozenset({"bootstrap", "confusion"})
    ceiling_bounds = (0.9, 0.6)
    evaluation: SemanticEvaluation | None

    def __init__(
        self,
        annotations: str | Path | dict,
        categories: Sequence[Category] | None = None,
        boundary_iou: bool = False,
        boundary_ratio: float = DISTANCE_RATIO,
        truth_maps: str | Path | None = None,
    ) -> None:
        if not 0 < boundary_ratio <= 1:
            raise InputError(f"boundary_ratio is {boundary_ratio}; choose one above 0, up to 1, the paper's is 0.02")
        super().__init__(annotations, categories)
        self.boundary_iou, self.boundary_ratio, self.truth_maps = boundary_iou, boundary_ratio, truth_maps

    def compare(self, image_id: Any, truth: Tensor, answer: Tensor) -> _ImagePixels:
        """The confusion matrix of an image.

        Raises:
            InputError: a label is of no class.
        """
        rows, columns = len(self.truth.categories), len(self.categories)
        truth = _checked("target", truth, rows, image_id)
        answer = _checked("answer", answer, columns, image_id)
        confusion = label_confusion(truth, answer, rows, columns)
        _check_labels(image_id, "target", truth, truth.numel() - int(confusion.sum()), rows)
        without_class = int(confusion[:, -1].sum())
        _check_labels(image_id, "answer", answer, without_class, columns)
        counts = self._in_order(confusion)
        cells = np.flatnonzero(counts)
        if not self.boundary_iou:
            return _ImagePixels(cells, counts.ravel()[cells])
        near = self._in_order(boundary_confusion(truth, answer, rows, columns, self.boundary_ratio))
        near_cells = np.flatnonzero(near)
        return _ImagePixels(cells, counts.ravel()[cells], near_cells, near.ravel()[near_cells])

    def _in_order(self, confusion: Tensor) -> np.ndarray:
        """A confusion matrix whose columns are the classes of the truth, and last none of them."""
        classes = len(self.truth.categories)
        counts = np.zeros((confusion.shape[0], classes + 1), dtype=np.int64)
        columns = np.where(self.positions < 0, classes, self.positions)
        np.add.at(counts.T, np.append(columns, classes), confusion.numpy().T)
        return counts

    def read(self, detections: str | Path | list[dict]) -> None:
        """Compare the label maps of a folder with those of `truth_maps`; see `MapFolder`. Images without a true map are
        left out.

        Raises:
            InputError: there is no such folder, or the answer for an image is missing or cannot be evaluated.
        """
        if self.truth_maps is None or isinstance(detections, list):
            raise InputError(
                "SemanticEvaluator reads a folder of PNG label maps and compares them with those of another: give "
                "--detections FOLDER, and the folder of the true ones as truth_maps, --evaluators '[{class_path: "
                "SemanticEvaluator, init_args: {truth_maps: labels/val}}]'"
            )
        truths = MapFolder(self.truth_maps, self.truth.categories)
        answers = MapFolder(detections, self.categories)
        for image_id in self.truth.image_ids:
            name = self.truth.image_names.get(image_id, str(image_id))
            truth = truths.find(name)
            if truth is None:
                self.kept[image_id] = None
                continue
            answer = answers.find(name)
            if answer is None:
                raise InputError(
                    f"{answers.folder} has no label map of image {image_id!r}, {name}: add "
                    f"{Path(name).with_suffix('.png')}"
                )
            target = Target(label_map=truths.read(truth, image_id), image_id=image_id)
            self.update([target], [SemanticMap(answers.read(answer, image_id))])

    def evaluate(self) -> SemanticEvaluation:
        """The numbers of all images that have a map and an answer."""
        _, kept = self.measured()
        classes = len(self.truth.categories)
        confusion = np.zeros((classes, classes + 1), dtype=np.int64)
        near = np.zeros((classes + 1, classes + 1), dtype=np.int64)
        images = np.zeros(classes, dtype=np.int64)
        for one in kept:
            confusion.ravel()[one.cells] += one.counts
            images[np.unique(one.cells // (classes + 1))] += 1
            if one.boundary_cells is not None:
                near.ravel()[one.boundary_cells] += one.boundary_counts
        boundary = ClassPixels.of_confusion(near) if self.boundary_iou else None
        return SemanticEvaluation(self.truth.categories, confusion, images, boundary)

    def chance(self) -> float | None:
        """The mean IoU of the best answer that looks at no image, and a tenth: one class everywhere, or classes at
        random, all alike or as often as in the truth. None before there are answers."""
        pixels = ClassPixels.of_confusion(self.evaluate().confusion).truth
        shares = pixels[pixels > 0] / max(pixels.sum(), 1)
        if not len(shares):
            return None
        one_class = shares.max() / len(shares)
        drawn = [(shares * given / (shares + given - shares * given)).mean() for given in (shares, 1 / len(shares))]
        return min(1.0, float(max(one_class, *drawn)) + 0.1)

    def image_weighting(self) -> WeightedSemantic:
        """The numbers of weighted images, of which each keeps its counts.

        Raises:
            InputError: there are no images.
        """
        ids, kept = self.measured()
        self.check_measured(ids)
        width = len(self.truth.categories) + 1
        pixels = _by_image([(one.cells, one.counts) for one in kept], width)
        boundary = None
        if self.boundary_iou:
            boundary = _by_image([(one.boundary_cells, one.boundary_counts) for one in kept], width)
        images, labels = np.nonzero(pixels.truth)
        data = MeasuredData(
            source=self.truth.source,
            image_ids=ids,
            classes=self.truth.class_names,
            images=images,
            labels=labels,
            values=pixels.truth[images, labels][:, None].astype(np.float64),
            image_names={one: self.truth.image_names[one] for one in ids if one in self.truth.image_names},
            settings={"boundary_ratio": self.boundary_ratio} if self.boundary_iou else {},
        )
        return WeightedSemantic(data, pixels, boundary)

    def report(self, evaluation: SemanticEvaluation, options: ReportOptions) -> Report:
        """The numbers, those of each class, confidence intervals, and the confusion matrix."""
        intervals = None
        if options.bootstrap:
            intervals = weighted_intervals(self.image_weighting(), options.bootstrap)
        tables: list[RenderableType] = [numbers_table("semantic segmentation", evaluation.metrics, intervals)]
        if options.per_class:
            tables.append(class_numbers_table("semantic segmentation by class", evaluation.per_class()))
        if options.confusion:
            tables.append(confusion_table(evaluation.confusion_matrix))
            write_confusion(evaluation.confusion_matrix, options.confusion)
        return Report(tables, map_entry(evaluation, options.per_class, intervals))


def _checked(owner: str, labels: Tensor, classes: int, image_id: Any) -> Tensor:
    """The map of an image in a dtype that tells the classes from void; `owner` is for messages.

    Raises:
        InputError: it has another dtype than label maps.
    """
    if labels.dtype not in IGNORE_INDEX:
        raise InputError(
            f"image {image_id!r}: the label_map of the {owner} is {labels.dtype}; give uint8 with 255 where there is "
            "no class, or int16 with -1"
        )
    void = IGNORE_INDEX[labels.dtype]
    return labels.short().masked_fill(labels == void, -1) if 0 < void < classes else labels


def _check_labels(image_id: Any, owner: str, labels: Tensor, without_class: int, classes: int) -> None:
    """Raise an `InputError` where pixels have a label of no class that is not void, either.

    Args:
        image_id: of the image.
        owner: of the map, for messages.
        labels: the map.
        without_class: the number of pixels whose label is of no class, of an answer where the truth has one.
        classes: their number.
    """
    if not without_class:
        return
    void = IGNORE_INDEX[labels.dtype]
    if labels.dtype == torch.uint8 and classes > 128:
        least, most = 0, int((labels + 1).max()) - 1  # 255 becomes 0
    else:  # in int8, 255 is -1
        signed = labels.view(torch.int8) if labels.dtype == torch.uint8 else labels
        least, most = (int(one) for one in signed.aminmax())
    if least >= -1 and most < classes:
        return
    wrong = labels[(labels != void) & ((labels < 0) | (labels >= classes))]
    raise InputError(
        f"image {image_id!r}: the label_map of the {owner} has the label {int(wrong[0])}, but there are only "
        f"{classes} classes, 0 to {classes - 1}, and {void} for none"
    )


def _by_image(kept: Sequence[tuple[np.ndarray, np.ndarray]], width: int) -> ClassPixels:
    """The pixels of each class in each image, from the cells of matrices whose rows are `width` long."""
    classes = width - 1
    image = np.repeat(np.arange(len(kept)), [len(cells) for cells, _ in kept])
    cells = np.concatenate([cells for cells, _ in kept])
    counts = np.concatenate([counts for _, counts in kept])
    row, column = cells // width, cells % width

    def summed(chosen: np.ndarray, label: np.ndarray) -> np.ndarray:
        total = np.zeros((len(kept), classes), dtype=np.int64)
        np.add.at(total, (image[chosen], label[chosen]), counts[chosen])
        return total

    return ClassPixels(
        summed((row == column) & (row < classes), row), summed(row < classes, row), summed(column < classes, column)
    )
