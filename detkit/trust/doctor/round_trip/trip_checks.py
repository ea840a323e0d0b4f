"""The checks by the oracle round trip: of the evaluated images, and of augmented training images."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from detkit.data.image_dataset import ImageDataset
from detkit.data.loading import TrainingDataset
from detkit.errors import InputError
from detkit.structures import Category, Target
from detkit.trust.doctor.findings import Check, Finding, Verdict, worst
from detkit.trust.doctor.round_trip.ceiling import ANSWERS, PRECISE, READING, Stage, ceiling, imprecise
from detkit.trust.doctor.round_trip.ideal_network import ideal_network
from detkit.trust.doctor.round_trip.image_trips import ImageTrip, round_trip
from detkit.trust.doctor.round_trip.reasons import loss_sentence, lost_objects
from detkit.trust.doctor.subject import Subject, truth_of

Sample = tuple[Tensor, Target]

GOOD, POOR = {"boxes": 0.99, "labels": 0.99}, {"boxes": 0.8, "labels": 0.8}
"""Ceilings below which there is a warning, and below which the check fails, by what an evaluator reads."""
GOOD_SHAPE, POOR_SHAPE = 0.8, 0.5  # of masks and keypoints, which have few cells
MANY_CUT = 0.3  # the share of objects that augmentation may cut without a warning


def check_round_trip(subject: Subject) -> Finding:
    """Ground truth of the evaluated split comes back as AP 1."""
    dataset = subject.data.eval_dataset
    indices = subject.some(dataset)
    truth = truth_of(dataset, indices)
    trips = _trips(subject, lambda index: subject.sample(dataset, index), indices)
    finding = _report(subject, "round_trip", trips, truth)
    return _with_unread(finding, dataset)


def check_augmentation(subject: Subject) -> Finding:
    """Objects of augmented training images are learned, and come back."""
    dataset = subject.data.train_dataset
    indices = subject.some(dataset)
    augmented = TrainingDataset(
        dataset, subject.data.augmentation, subject.seed, subject.data.mixing, subject.data.mixing_epochs
    )
    cut = total = 0

    def read(index: int) -> Sample:
        nonlocal cut, total
        image, target = augmented[(index, 0)]
        if target.labels is not None:
            before = len(dataset.target(index).objects())
            total += before
            cut += 0 if subject.data.mixing else before - len(target.objects())
        proposals = subject.data.proposals
        return image, target if proposals is None else replace(target, proposals=proposals(image))

    trips = _trips(subject, read, indices)
    truth = _Augmented(trips, dataset.categories).ground_truth()
    finding = _report(subject, "augmentation", trips, truth)
    return _with_cut(finding, cut, total)


def _trips(subject: Subject, read: Callable[[int], Sample], indices: Sequence[int]) -> list[ImageTrip]:
    if not indices:
        raise InputError("there are no images: check the split of the data")
    trips: list[ImageTrip] = []
    size = max(1, min(subject.data.eval_batch_size, 4))
    model = subject.model.eval()
    with ideal_network(model) as network:
        for start in range(0, len(indices), size):
            subject.progress(f"{start} of {len(indices)} images")
            images, targets = zip(*(read(index) for index in indices[start : start + size]), strict=True)
            trips += round_trip(network, subject.task, images, targets)
    if not trips:
        raise InputError("no image is annotated with what the model answers: there is nothing to bring back")
    return trips


def _report(subject: Subject, check: Check, trips: list[ImageTrip], truth: Any) -> Finding:
    evaluators = subject.make_evaluators(truth)
    stages = ceiling(trips, evaluators)
    lost = Counter(stage for trip in trips for stage in trip.lost if stage is not None)
    total = sum(len(trip.lost) for trip in trips)
    verdict = _verdict(stages[-1].scores, {name: one.reads for name, one in evaluators.items()})
    notes: list[str] = []
    headlines = {name: one.headline for name, one in evaluators.items()}
    if any(score < 0.999 for score in stages[0].scores.values()):
        notes.append(
            f"the evaluator gives the truth itself {_scores(stages[0], headlines)}: an image has more objects of a "
            "class than it counts (COCO: 100 boxes, 20 sets of keypoints), or it has none to measure with. "
            f"{_crowded(trips)}"
        )
    notes += [
        loss_sentence(stage, trips, subject.model) for stage in dict.fromkeys(one.name for one in stages) if lost[stage]
    ]
    coarse = imprecise(trips)
    if coarse:
        notes.append(
            f"{coarse} of {total} objects come back with an IoU below {PRECISE}: cells, anchors or clipping cannot "
            "express their boxes better"
        )
    notes += _shape_notes(stages, evaluators)
    if abs(sum(stages[-1].scores.values()) - sum(stages[-2].scores.values())) > 1e-3:
        notes.append("the results file does not give the score that the answers had: report this as a bug")
    sentence = f"{_scores(stages[-1], headlines)} at most, {total} objects in {len(trips)} images, {lost.total()} lost"
    numbers = {
        "stages": [{"stage": one.name, "lost": one.lost, **one.scores} for one in stages],
        "lost": lost_objects(trips),
    }
    return Finding(check, verdict, sentence, notes, numbers)


def _crowded(trips: Sequence[ImageTrip]) -> str:
    """The image with the most objects of one class."""
    most, trip = max(
        ((Counter(trip.truth.labels.tolist()).most_common(1) or [(0, 0)])[0][1], -row) for row, trip in enumerate(trips)
    )
    return f"Image {trips[-trip].target.image_id!r} has {most} of one class"


def _scores(stage: Stage, headlines: Mapping[str, str]) -> str:
    return ", ".join(f"{name} {headlines[name]} {score:.3f}" for name, score in stage.scores.items())


def _verdict(scores: Mapping[str, float], reads: Mapping[str, str]) -> Verdict:
    verdicts: list[Verdict] = []
    for name, score in scores.items():
        good, poor = GOOD.get(reads[name], GOOD_SHAPE), POOR.get(reads[name], POOR_SHAPE)
        verdicts.append("failed" if score < poor else "warning" if score < good else "passed")
    return worst(*verdicts)


def _shape_notes(stages: Sequence[Stage], evaluators: Mapping[str, Any]) -> list[str]:
    """What the resolution of masks and heat maps costs."""
    after = next(stage for stage in stages if stage.name == ANSWERS)
    before = stages[stages.index(after) - 1]
    what = {
        "masks": "masks of 2 x resolution cells in each box",
        "keypoints": "heat maps of 4 x resolution cells, which end at the box,",
    }
    return [
        f"{name}: {what[evaluators[name].reads]} lower the ceiling from {before.scores[name]:.3f} to "
        f"{after.scores[name]:.3f}; raise resolution of that head"
        for name in after.scores
        if evaluators[name].reads in what and after.scores[name] < before.scores[name] - 0.01
    ]


def _with_unread(finding: Finding, dataset: ImageDataset) -> Finding:
    """Add the annotations that were left out when the file was read."""
    dropped = [] if dataset.packed_annotations is None else dataset.packed_annotations.dropped
    if not dropped:
        return finding
    note = (
        f"{len(dropped)} annotations of {dataset.annotations_path} are lost at {READING}: they have no area or lie "
        f"outside their image (data.on_bad_box is skip); correct them. The first is entry {dropped[0]} of the list"
    )
    return replace(finding, verdict=worst(finding.verdict, "warning"), notes=[note, *finding.notes])


def _with_cut(finding: Finding, cut: int, total: int) -> Finding:
    """Add how many objects augmentation cuts out of the images."""
    numbers = finding.numbers | {"cut": cut, "objects": total}
    if not cut:
        return replace(finding, numbers=numbers)
    note = f"{cut} of {total} objects ({cut / total:.1%}) are cut by the augmentation, and not learned in such an epoch"
    many = cut > MANY_CUT * total
    if many:
        note += "; lower crop or zoom of data.augmentation, or raise crop_size"
    verdict = worst(finding.verdict, "warning") if many else finding.verdict
    return replace(finding, verdict=verdict, notes=[note, *finding.notes], numbers=numbers)


class _Augmented(ImageDataset):
    """Augmented images that are known already, for their ground truth.

    Args:
        trips: of the images.
        categories: of the data.
    """

    def __init__(self, trips: Sequence[ImageTrip], categories: Sequence[Category]) -> None:
        self.trips, self._categories = trips, list(categories)

    @property
    def categories(self) -> list[Category]:
        return self._categories

    @property
    def image_ids(self) -> Sequence[Any]:
        return [trip.target.image_id for trip in self.trips]

    @property
    def image_sizes(self) -> np.ndarray:
        return np.array([trip.given_size for trip in self.trips])

    def target(self, index: int) -> Target:
        return self.trips[index].target

    def read(self, index: int) -> tuple[np.ndarray, Target]:
        raise InputError("the pixels of augmented images are not kept")
