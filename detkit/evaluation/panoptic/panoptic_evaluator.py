"""The evaluator of panoptic segmentation: panoptic quality (Kirillov et al., "Panoptic Segmentation", CVPR 2019)."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from rich.console import RenderableType
from torch import Tensor

from detkit.errors import InputError
from detkit.evaluation.evaluator import Report, ReportOptions
from detkit.evaluation.maps.map_collector import MapCollector
from detkit.evaluation.panoptic.matched_segments import ImageSegments, match_segments
from detkit.evaluation.panoptic.panoptic_evaluation import PanopticEvaluation, WeightedPanoptic, is_thing_of
from detkit.evaluation.tables.map_report import class_numbers_table, map_entry, numbers_table
from detkit.evaluation.weighting.image_weighting import MeasuredData
from detkit.evaluation.weighting.intervals import weighted_intervals
from detkit.ops.maps.label_pairs import label_pairs
from detkit.structures.image_fields import INSTANCES


class PanopticEvaluator(MapCollector):
    """Compares panoptic maps, and computes panoptic quality (PQ), the product of segmentation and recognition quality.

    A segment of the answer matches one of the truth of its class where their IoU is above 0.5; void pixels of the truth
    are no part of the union. A segment of the answer that matches nothing is not wrong where more than half of it is
    void or in a crowd of its class. All segments of stuff, and all crowds, of one class in an image are one.

    Args:
        annotations: path of a COCO file with the images and categories of the data, or its content; ``isthing`` tells
            things from stuff. The truth is the `panoptic_map` of the targets.
        categories: ``categories[k]`` is the class of label ``k`` of the answers; they are matched to those of the
            annotations by name. Default: the annotations' own, sorted by id.

    Raises:
        InputError: the annotations cannot be read, or a category is not among theirs.
    """

    name = "panoptic"
    reads = "panoptic_map"
    headline = "PQ"
    ceiling_bounds = (0.8, 0.5)
    evaluation: PanopticEvaluation | None

    def compare(self, image_id: Any, truth: Tensor, answer: Tensor) -> ImageSegments:
        """The matched segments of an image.

        Raises:
            InputError: a map has another dtype than int32, or a number of no class.
        """
        for owner, given in (("target", truth), ("answer", answer)):
            if given.dtype != torch.int32:
                raise InputError(
                    f"image {image_id!r}: the panoptic_map of the {owner} is {given.dtype}; give int32, "
                    "label * 65536 + instance, and -1 where there is nothing"
                )
        pairs, pixels = (one.numpy() for one in label_pairs(truth, answer))
        for owner, column, categories in (("target", 0, self.truth.categories), ("answer", 1, self.categories)):
            wrong = pairs[(pairs[:, column] < -1) | (pairs[:, column] // INSTANCES >= len(categories)), column]
            if len(wrong):
                raise InputError(
                    f"image {image_id!r}: the panoptic_map of the {owner} has the number {wrong[0]}, which is of label "
                    f"{wrong[0] // INSTANCES}, but there are only {len(categories)} classes; write "
                    "label * 65536 + instance, and -1 where there is nothing"
                )
        return match_segments(pairs, pixels, is_thing_of(self.truth.categories), self.positions)

    def evaluate(self) -> PanopticEvaluation:
        """The numbers of all images that have a map and an answer."""
        _, kept = self.measured()
        classes = len(self.truth.categories)
        iou, counts = np.zeros(classes), np.zeros((classes, 3), dtype=np.int64)
        for one in kept:
            iou[one.classes] += one.iou
            counts[one.classes] += one.counts
        return PanopticEvaluation(self.truth.categories, iou, counts)

    def chance(self) -> float | None:
        """At least the panoptic quality of any single class that covers each image, and a twentieth. None before there
        are answers."""
        _, kept = self.measured()
        shares = np.zeros((len(kept), len(self.truth.categories)))  # of an image, the largest segment of each class
        for row, one in zip(shares, kept, strict=True):
            segments = one.truth[one.truth[:, 2] == 0]
            np.maximum.at(row, segments[:, 0], segments[:, 1] / max(one.truth[:, 1].sum(), 1))
        present, is_matched = shares > 0, shares > 0.5
        if not present.any():
            return None
        segments = is_matched.sum(axis=0) + (present & ~is_matched).sum(axis=0) / 2
        quality = np.where(is_matched, shares, 0).sum(axis=0) / np.maximum(segments, 1)
        return min(1.0, float(quality.max() / present.any(axis=0).sum()) + 0.05)

    def image_weighting(self) -> WeightedPanoptic:
        """The numbers of weighted images, of which each keeps its counts.

        Raises:
            InputError: there are no images.
        """
        ids, kept = self.measured()
        self.check_measured(ids)
        classes = len(self.truth.categories)
        iou, counts = np.zeros((len(kept), classes)), np.zeros((len(kept), classes, 3))
        for row, one in enumerate(kept):
            iou[row, one.classes] = one.iou
            counts[row, one.classes] = one.counts
        truth = np.concatenate([one.truth for one in kept])
        data = MeasuredData(
            source=self.truth.source,
            image_ids=ids,
            classes=self.truth.class_names,
            images=np.repeat(np.arange(len(kept)), [len(one.truth) for one in kept]),
            labels=truth[:, 0],
            values=truth[:, 1:].astype(np.float64),
            image_names={one: self.truth.image_names[one] for one in ids if one in self.truth.image_names},
        )
        return WeightedPanoptic(data, is_thing_of(self.truth.categories), iou, counts)

    def report(self, evaluation: PanopticEvaluation, options: ReportOptions) -> Report:
        """The numbers, those of each class, and confidence intervals."""
        intervals = weighted_intervals(self.image_weighting(), options.bootstrap) if options.bootstrap else None
        tables: list[RenderableType] = [numbers_table("panoptic segmentation", evaluation.metrics, intervals)]
        if options.per_class:
            tables.append(class_numbers_table("panoptic segmentation by class", evaluation.per_class()))
        return Report(tables, map_entry(evaluation, options.per_class, intervals))
