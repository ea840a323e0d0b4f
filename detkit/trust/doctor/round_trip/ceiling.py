"""The ceiling report: the AP that a recipe can reach at most, stage after stage."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from detkit.evaluation import Evaluator
from detkit.trust.doctor.round_trip.image_trips import (
    CANDIDATES,
    DECODING,
    LIMIT,
    RESIZING,
    SUPPRESSION,
    THRESHOLD,
    ImageTrip,
)

READING, EVALUATION, ANSWERS, RESULTS = "reading", "evaluation", "boxes and masks", "results file"
_OF_DECODING = (DECODING, THRESHOLD, CANDIDATES, SUPPRESSION, LIMIT)
PRECISE = 0.95  # COCO's strictest IoU threshold


@dataclass(frozen=True)
class Stage:
    """A row of the report.

    Args:
        name: of the stage.
        lost: how many objects it loses.
        scores: the headline of each evaluator for what is left, by name.
    """

    name: str
    lost: int
    scores: Mapping[str, float]


def ceiling(
    trips: Sequence[ImageTrip], evaluators: Mapping[str, Evaluator], answers_objects: bool = True
) -> list[Stage]:
    """The stages of a round trip, in the order of the pipeline, from the truth itself to the results file.

    Args:
        trips: of all images of the evaluators' ground truth.
        evaluators: by name.
        answers_objects: see `detkit.tasks.Task`; if not, all that is lost is lost in one stage.
    """
    counts = Counter(stage for trip in trips for stage in trip.lost)
    stages = [Stage(EVALUATION, 0, _scores(evaluators, trips, [trip.truth for trip in trips]))]
    if not answers_objects:
        answers = _scores(evaluators, trips, [trip.answer for trip in trips])
        stages.append(Stage(DECODING, counts[DECODING], answers))
        return [*stages, Stage(RESULTS, 0, _after_file(evaluators, answers))]
    gone: set[str] = set()
    for name in _in_order(counts):
        gone.add(name)
        scores = stages[-1].scores
        if counts[name]:
            scores = _scores(evaluators, trips, [_without(trip, gone) for trip in trips])
        stages.append(Stage(name, counts[name], scores))
    stages.append(Stage(ANSWERS, 0, _scores(evaluators, trips, [_visible(trip) for trip in trips])))
    stages.append(Stage(RESULTS, 0, _after_file(evaluators, stages[-1].scores)))
    return stages


def imprecise(trips: Sequence[ImageTrip]) -> int:
    """How many objects come back, but with an IoU below COCO's strictest threshold."""
    return sum(
        int((one < PRECISE) & (stage is None))
        for trip in trips
        for one, stage in zip(trip.recovered.overlaps, trip.lost, strict=True)
    )


def _in_order(counts: Mapping[str | None, int]) -> list[str]:
    """The stages that exist in each model, and between them those of its heads that lose objects."""
    of_heads = [name for name in counts if name is not None and name not in (RESIZING, *_OF_DECODING)]
    assignment = sorted(of_heads, key=lambda name: name.endswith(": proposals"))
    return [RESIZING, *(assignment or ["assignment"]), *_OF_DECODING]


def _without(trip: ImageTrip, gone: set[str]) -> Any:
    return trip.truth[torch.tensor([stage not in gone for stage in trip.lost], dtype=torch.bool)]


def _visible(trip: ImageTrip) -> Any:
    """The answer without what no network could see."""
    rows = [row for row, stage in zip(trip.recovered.rows.tolist(), trip.lost, strict=True) if stage == RESIZING]
    if not rows:
        return trip.answer
    kept = torch.ones(len(trip.answer), dtype=torch.bool)
    kept[[row for row in rows if row >= 0]] = False
    return trip.answer[kept]


def _scores(
    evaluators: Mapping[str, Evaluator], trips: Sequence[ImageTrip], answers: Sequence[Any]
) -> dict[str, float]:
    scores = {}
    for name, evaluator in evaluators.items():
        evaluator.reset()
        evaluator.update([trip.target for trip in trips], answers)
        scores[name] = float(evaluator.compute()[evaluator.headline])
    return scores


def _after_file(evaluators: Mapping[str, Evaluator], before: Mapping[str, float]) -> dict[str, float]:
    """The scores of what the evaluators hold, written in COCO's results format and read again."""
    scores = dict(before)
    for name, evaluator in evaluators.items():
        if "save_detections" in evaluator.extras:
            evaluator.read(json.loads(json.dumps(evaluator.results())))
            scores[name] = float(evaluator.compute()[evaluator.headline])
        evaluator.reset()
    return scores
