"""The evaluator of region proposals: class-agnostic average recall, as COCO measures it for proposals."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from detkit.errors import InputError
from detkit.evaluation.coco.coco_evaluation import check_native
from detkit.evaluation.coco.native_backend import accumulate, match
from detkit.evaluation.coco.protocol import NOTHING_TO_MEASURE, Number, Protocol
from detkit.evaluation.coco.weighted_coco import WeightedCoco
from detkit.evaluation.evaluator import Evaluation, Evaluator
from detkit.evaluation.files.annotations_file import read_ground_truth
from detkit.evaluation.files.coco_json import read_json
from detkit.evaluation.nothing_to_measure import check_has_objects, why_nothing
from detkit.evaluation.packed_objects import PackedDetections
from detkit.structures import Category, Target


class ProposalRecall(Evaluator):
    """Collects the proposals of images and measures their recall (Hosang 2015; COCO's AR, without classes).

    Every image of the annotations counts; one that is never updated is an image without proposals. Crowd regions do
    not count.

    Args:
        annotations: path of a COCO annotation file, or the dict that it holds.
        limits: numbers of proposals per image to measure with, the best ones first.
        image_ids: measure on these images alone; all of the annotations by default.
        categories: ignored: proposals have no classes.

    Raises:
        InputError: the annotations cannot be evaluated against, or the native kernels were not built.
    """

    name = "proposals"
    reads = "proposals"
    scale = 100.0
    answers_called = "proposals"
    evaluation: Evaluation | None

    def __init__(
        self,
        annotations: str | Path | dict,
        limits: Sequence[int] = (100, 1000),
        image_ids: Iterable[Any] | None = None,
        categories: Sequence[Category] | None = None,
    ) -> None:
        super().__init__(annotations, categories)
        check_native("the recall of proposals")
        if not limits or min(limits) < 1:
            raise InputError(f"limits must be numbers of proposals, got {list(limits)}")
        self.limits = sorted(limits)
        self.headline = f"AR{self.limits[-1]}"
        self.ground_truth = read_ground_truth(_without_classes(annotations), "bbox", image_ids)

    def check_image(self, image_id: Any, source: str) -> None:
        """Raise an `InputError` where the annotations have no such image."""
        self.ground_truth.number_of(image_id, source)

    def keep(self, target: Target, answer: Tensor) -> np.ndarray:
        """The proposals ``(P, 4)`` of an image, best first, in pixels of the image, up to the largest limit.

        Raises:
            InputError: a box is not finite.
        """
        if not answer.isfinite().all():
            raise InputError(f"proposals of image {target.image_id!r}: a box is not finite")
        return answer[: self.limits[-1]].detach().cpu().double().numpy()

    def evaluate(self) -> Evaluation:
        """By number of proposals ``n``: ``ARn``, the recall averaged over IoU 0.50 to 0.95, and ``recall50_n`` at 0.5;
        0..1, or -1 where there is no object."""
        truth, proposals = self.ground_truth, sum(map(len, self.kept.values()))
        objects = np.array([np.count_nonzero(~truth.objects.ignored)][: len(truth.categories)])
        names = [category.name for category in truth.categories]
        self.warn_once(
            why_nothing(truth.source, len(truth.image_ids), names, objects, proposals, "proposals", "objects")
        )
        return Evaluation(self._recalls())

    def image_weighting(self) -> WeightedCoco:
        """The recalls of weighted images.

        Raises:
            InputError: there is nothing to measure.
        """
        check_has_objects(self.ground_truth)
        return WeightedCoco(self.ground_truth, self._as_detections(), "bbox", self._protocol(), np.zeros(0))

    def _protocol(self) -> Protocol:
        numbers = {
            name: Number(False, threshold, "all", limit)
            for limit in self.limits
            for name, threshold in ((f"AR{limit}", None), (f"recall50_{limit}", 0.5))
        }
        return Protocol(
            np.linspace(0.5, 0.95, 10), np.linspace(0.0, 1.0, 101), {"all": (0.0, 1e10)}, self.limits, numbers
        )

    def _recalls(self) -> dict[str, float]:
        protocol = self._protocol()
        if not self.ground_truth.image_ids or not self.ground_truth.categories:
            return dict.fromkeys(protocol.numbers, NOTHING_TO_MEASURE)
        detections = self._as_detections()
        matches = match(self.ground_truth, detections, "bbox", protocol, np.zeros(0))
        return protocol.summarize(accumulate(self.ground_truth, detections, matches, protocol))

    def _as_detections(self) -> PackedDetections:
        """The proposals as detections of a single class; their scores hold their order."""
        proposals = {self.ground_truth.image_numbers[image_id]: boxes for image_id, boxes in self.kept.items()}
        numbers = sorted(proposals)
        counts = [len(proposals[number]) for number in numbers]
        boxes = np.concatenate([np.zeros((0, 4)), *(proposals[number] for number in numbers)])
        boxes[:, 2:] -= boxes[:, :2]
        return PackedDetections.measured(
            images=np.repeat(np.array(numbers, dtype=np.int64), counts),
            categories=np.zeros(len(boxes), dtype=np.int64),
            scores=np.concatenate([np.zeros(0), *(-np.arange(count, dtype=np.float64) for count in counts)]),
            boxes=boxes,
        )


def _without_classes(annotations: str | Path | dict) -> dict:
    content = annotations if isinstance(annotations, dict) else read_json(Path(annotations))
    objects = [{**one, "category_id": 1} for one in content.get("annotations", [])]
    return {**content, "annotations": objects, "categories": [{"id": 1, "name": "object"}]}
