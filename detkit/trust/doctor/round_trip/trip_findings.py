"""What round trips tell: how good the recipe can be at most, and what to do about what is lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence

from detkit.evaluation import Evaluator
from detkit.evaluation.ground_truth import NOTHING_TO_MEASURE
from detkit.trust.doctor.findings import Check, Finding, Verdict, worst
from detkit.trust.doctor.round_trip.ceiling import PRECISE, Stage, ceiling, imprecise
from detkit.trust.doctor.round_trip.image_trips import ImageTrip
from detkit.trust.doctor.round_trip.reasons import loss_sentence, lost_objects
from detkit.trust.doctor.subject import Subject

FEW_LOST, MANY_LOST = 0.01, 0.2  # shares of the truth that may be lost, where an evaluator has no bounds
_COUNTED = 20  # objects of a class in an image, which each evaluator counts
_RESOLUTION = "raise resolution of that head"
_FINER = "give the network larger images, or its head finer maps"
_SHAPES = {
    "masks": ("masks of 2 x resolution cells in each box", _RESOLUTION),
    "keypoints": ("heat maps of 4 x resolution cells, which end at the box,", _RESOLUTION),
    "label_map": ("class logits that are coarser than the image", _FINER),
    "panoptic_map": ("class logits and masks that are coarser than the image", _FINER),
}
"""What costs precision, by what an evaluator reads, and what helps."""


def trips_finding(
    subject: Subject, check: Check, trips: Sequence[ImageTrip], evaluators: Mapping[str, Evaluator]
) -> Finding:
    """The finding of a check.

    Args:
        subject: what is examined.
        check: its name.
        trips: of all images of the ground truth of `evaluators`.
        evaluators: by name.
    """
    if not subject.task.has_truth:
        return Finding(check, "skipped", f"the task {subject.task.name} has no method `truth`, see docs/doctor.md")
    if not trips:
        return Finding(
            check, "warning", "there is nothing to recover: no image is annotated with what the model predicts"
        )
    total = sum(len(trip.lost) for trip in trips)
    if not total:
        return Finding(check, "warning", f"there is nothing to recover: none of the {len(trips)} images has an object")
    stages = ceiling(trips, evaluators, subject.task.answers_objects)
    lost = Counter(stage for trip in trips for stage in trip.lost if stage is not None)
    notes = [*_notes_on_truth(stages[0], evaluators, trips)]
    notes += [
        loss_sentence(stage, trips, subject.model) for stage in dict.fromkeys(one.name for one in stages) if lost[stage]
    ]
    coarse = imprecise(trips) if subject.task.answers_objects else 0
    if coarse:
        notes.append(
            f"{coarse} of {total} objects come back with an IoU below {PRECISE}: cells, anchors or clipping cannot "
            "express their boxes more precisely"
        )
    notes += _notes_on_shapes(stages, evaluators)
    if any(abs(score - stages[-2].scores[name]) > 1e-3 for name, score in stages[-1].scores.items()):
        notes.append("the results file does not give the score that the answers had: report this as a bug")
    called = "objects" if subject.task.answers_objects else "answers"
    sentence = (
        f"a perfect network reaches {_scores(stages[-1], evaluators)}; {lost.total()} of {total} {called} in "
        f"{len(trips)} images are lost"
    )
    numbers = {
        "stages": [{"stage": one.name, "lost": one.lost, **one.scores} for one in stages],
        "lost": lost_objects(trips),
    }
    verdict = _verdict(stages[-1].scores, evaluators, lost.total() / total)
    return Finding(check, verdict, sentence, notes, numbers)


def _verdict(scores: Mapping[str, float], evaluators: Mapping[str, Evaluator], lost: float) -> Verdict:
    verdicts: list[Verdict] = []
    for name, score in scores.items():
        bounds = evaluators[name].ceiling_bounds
        sign = 1 if evaluators[name].higher_is_better else -1
        if score == NOTHING_TO_MEASURE:
            verdicts.append("warning")
        elif bounds is None:
            verdicts.append("failed" if lost > MANY_LOST else "warning" if lost > FEW_LOST else "passed")
        else:
            good, poor = (sign * bound for bound in bounds)
            verdicts.append("failed" if sign * score < poor else "warning" if sign * score < good else "passed")
    return worst(*verdicts)


def _scores(stage: Stage, evaluators: Mapping[str, Evaluator]) -> str:
    return ", ".join(f"{name} {evaluators[name].headline} {score:.3f}" for name, score in stage.scores.items())


def _notes_on_truth(stage: Stage, evaluators: Mapping[str, Evaluator], trips: Sequence[ImageTrip]) -> list[str]:
    """What an evaluator with a scale of 1 does not give the truth itself."""
    notes = []
    for name, score in stage.scores.items():
        headline = evaluators[name].headline
        if score == NOTHING_TO_MEASURE:
            notes.append(f"{name}: {headline} is -1, since there is nothing to measure it with")
        elif evaluators[name].ceiling_bounds is not None and evaluators[name].higher_is_better and score < 0.999:
            notes.append(f"{name}: the ground truth itself has {headline} {score:.3f}: {_why_less(trips)}")
    return notes


def _why_less(trips: Sequence[ImageTrip]) -> str:
    """Why an evaluator does not count all of the truth."""
    most, trip = max(((_most_of_one(trip), -row) for row, trip in enumerate(trips)))
    if most <= _COUNTED:
        return "its classes are not those of the model, or its boxes reach out of their images"
    return (
        "an image has more objects of a class than the evaluator counts (COCO: 100 boxes, 20 sets of keypoints). "
        f"Image {trips[-trip].target.image_id!r} has {most} of one class"
    )


def _most_of_one(trip: ImageTrip) -> int:
    labels = trip.recovered.labels
    return max(Counter([] if labels is None else labels.tolist()).values(), default=0)


def _notes_on_shapes(stages: Sequence[Stage], evaluators: Mapping[str, Evaluator]) -> list[str]:
    """What the resolution of masks, heat maps and logits costs."""
    *_, before, after, _ = stages  # the last is the results file
    notes = []
    for name, score in after.scores.items():
        if evaluators[name].reads in _SHAPES and score < before.scores[name] - 0.01:
            what, help = _SHAPES[evaluators[name].reads]
            notes.append(f"{name}: {what} lower the ceiling from {before.scores[name]:.3f} to {score:.3f}; {help}")
    return notes
