"""`DetectionDifferences`: detections in pairs, and those without a partner."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from detkit.ops import RunLengths, rle_to_masks
from detkit.structures import Category, Detections
from detkit.tasks.differences.answer_differences import AnswerDifferences, DifferenceCollector, Largest, LargestOf
from detkit.tasks.differences.box_causes import box_causes
from detkit.tasks.differences.count_causes import NEAR, Lone, Side, count_causes, is_borderline
from detkit.tasks.differences.detection_pairs import pair_detections

SCORES, SIDES, LOGITS, MASKS = 1e-3, 1e-3, 1e-2, 1e-2
"""What rounding may change: scores; places, of the longer side of the image; logits; pixels, of those of a mask."""
_PIXELS = 3  # of the boundary of a small mask
_MOST_OF_CLASS = 0.5
MOST_NEAR = 0.05
"""Also in low precision, scores that differ by more are no longer those of the same detection."""


@dataclass
class _Both:
    """What is collected of both answers.

    Args:
        expected: of the checkpoint's.
        given: of the file's.
        relabeled: how often a class of the checkpoint's is another of the file's.
        labels: how often each class of the checkpoint's is in a pair.
        places: ``(P, 2, 4)`` boxes of the pairs of each image.
    """

    expected: Side = field(default_factory=Side)
    given: Side = field(default_factory=Side)
    relabeled: dict[tuple[int, int], int] = field(default_factory=dict)
    labels: Counter[int] = field(default_factory=Counter)
    places: list[np.ndarray] = field(default_factory=list)


class DetectionDifferences(DifferenceCollector):
    """Compares detections of the same images.

    Args:
        categories: the class of each label.
        tolerance: how many times as much as in float32 rounding may change.
    """

    def __init__(self, categories: Sequence[Category], tolerance: float = 1.0) -> None:
        self.names = [category.name for category in categories]
        self.tolerance, self.near = tolerance, min(NEAR * tolerance, MOST_NEAR)
        self.largest, self.both = LargestOf(), _Both()
        self.images = self.pairs = 0

    def add(self, image_id: Any, size: tuple[int, int], expected: Detections, given: Detections) -> None:
        """See `DifferenceCollector.add`."""
        self.images += 1
        pairs = pair_detections(expected, given, self.near)
        together = np.concatenate([pairs.same, pairs.moved, pairs.relabeled])
        self.pairs += len(together)
        first, second = (torch.from_numpy(together[:, column]) for column in (0, 1))
        self._values(image_id, max(size), expected[first], given[second])
        for one, other in pairs.relabeled:
            key = int(expected.labels[one]), int(given.labels[other])
            self.both.relabeled[key] = self.both.relabeled.get(key, 0) + 1
        self.both.labels.update(expected.labels[first].tolist())
        self.both.places.append(torch.stack([expected.boxes[first], given.boxes[second]], dim=1).double().numpy())
        for side, own, other, rows in (
            (self.both.expected, expected, given, pairs.expected),
            (self.both.given, given, expected, pairs.given),
        ):
            side.add(own, [Lone.of(self._words(own, row), own, row, other, self.near) for row in rows.tolist()])
        difference = abs(len(expected) - len(given))
        where = f"{len(given)} in place of {len(expected)}"
        # Numbers that differ mean unpaired detections, which are judged one by one.
        self.largest.add(Largest("count", difference, "detections", np.inf, image_id, where), 0)

    def _values(self, image_id: Any, longest: int, expected: Detections, given: Detections) -> None:
        """The largest differences of detections that are pairs, row by row."""

        def note(output: str, sizes: Tensor, unit: str, limit: float | Tensor) -> None:
            if not len(sizes):
                return
            limits = self.tolerance * torch.as_tensor(limit, dtype=torch.float64).expand(len(sizes))
            shares = (sizes.double() / limits).nan_to_num(nan=torch.inf)
            row, beyond = int(shares.argmax()), int((shares > 1).sum())
            one = Largest(output, float(sizes[row]), unit, float(limits[row]), image_id, self._words(expected, row))
            self.largest.add(one, beyond)

        note("boxes", (expected.boxes - given.boxes).abs().amax(dim=1), "pixels", SIDES * longest)
        note("scores", (expected.scores - given.scores).abs(), "", SCORES)
        note("labels", (expected.labels != given.labels).float(), "of 1", 0.5 / self.tolerance)
        if expected.keypoints is not None and given.keypoints is not None:
            apart = (expected.keypoints - given.keypoints).abs()
            note("keypoints", apart[..., :2].flatten(1).amax(dim=1), "pixels", SIDES * longest)
            note("keypoint logits", apart[..., 2].amax(dim=1), "", LOGITS)
        if expected.voxels is not None and given.voxels is not None:
            note("voxels", (expected.voxels - given.voxels).abs().flatten(1).amax(dim=1), "", SCORES)
        if expected.masks is not None and given.masks is not None:
            first, second = (_pixels(one.masks) for one in (expected, given))
            limits = (MASKS * first.flatten(1).sum(dim=1).double()).clamp(min=_PIXELS)
            note("masks", (first != second).flatten(1).sum(dim=1).float(), "pixels", limits)

    def result(self) -> AnswerDifferences:
        """See `DifferenceCollector.result`."""
        both = self.both
        borderline = [
            is_borderline(one, own, other, self.near)
            for own, other in ((both.expected, both.given), (both.given, both.expected))
            for one in own.lone
        ]
        counts = {
            "pairs": self.pairs,
            "only of the checkpoint": len(both.expected.lone),
            "only of the file": len(both.given.lone),
            "of these at a threshold": sum(borderline),
        }
        places = np.concatenate(both.places) if both.places else np.zeros((0, 2, 4))
        unpaired = len(borderline) - sum(borderline)
        causes = [
            *count_causes(both.expected, both.given, self.near),
            *relabeling(both.relabeled, both.labels, self.names),
            *box_causes(places[:, 0], places[:, 1]),
        ]
        predictions = self.pairs + len(borderline)
        return AnswerDifferences(
            self.images, predictions, self.largest.all(), counts, unpaired, sum(borderline), tuple(causes)
        )

    def _words(self, detections: Detections, row: int) -> str:
        """``cat 0.830, box (10, 20, 60, 75)``."""
        label = int(detections.labels[row])
        name = self.names[label] if 0 <= label < len(self.names) else f"label {label}"
        corners = ", ".join(f"{value:.0f}" for value in detections.boxes[row].tolist())
        return f"{name} {float(detections.scores[row]):.3f}, box ({corners})"


def relabeling(swapped: Mapping[tuple[int, int], int], totals: Mapping[int, int], names: Sequence[str]) -> list[str]:
    """A sentence on the classes of which most predictions have another class in the file.

    Args:
        swapped: how often the first class is the second one in the file.
        totals: how often it occurs.
        names: of the classes.
    """

    def name(label: int) -> str:
        return names[label] if 0 <= label < len(names) else f"label {label}"

    most = [(pair, count) for pair, count in swapped.items() if count >= _MOST_OF_CLASS * totals[pair[0]]]
    most.sort(key=lambda item: -item[1])
    if not most:
        return []
    listed = ", ".join(
        f"{name(first)} is {name(second)} in {count} of {totals[first]}" for (first, second), count in most[:4]
    )
    return [f"classes are swapped: {listed}{' …' if len(most) > 4 else ''}, with the same scores"]


def _pixels(masks: Tensor | RunLengths | None) -> Tensor:
    """``(N, H, W)`` bool."""
    return rle_to_masks(masks) if isinstance(masks, RunLengths) else torch.as_tensor(masks).bool()
