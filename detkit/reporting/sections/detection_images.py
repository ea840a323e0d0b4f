"""The worst images of a detector, with the kind of error of each detection and object."""

from __future__ import annotations

import numpy as np

from detkit.evaluation import AssignedErrors, CocoEvaluation
from detkit.evaluation.coco.tide import ERROR_KINDS
from detkit.evaluation.packed_objects import PackedObjects
from detkit.reporting.evaluated import Evaluated
from detkit.reporting.parts.error_browser import BrowserImage, ErrorKind, Mark, error_browser
from detkit.reporting.parts.mark_shapes import Shape
from detkit.reporting.parts.rendering import paragraph
from detkit.reporting.section import Section
from detkit.reporting.sections.object_shapes import ObjectShapes

KINDS = (
    ErrorKind("correct", "the detection of an object, or an object that is detected"),
    ErrorKind("classification", "IoU of at least 0.5 with an object of another class"),
    ErrorKind("localization", "IoU of 0.1 to 0.5 with an object of its class"),
    ErrorKind("both", "IoU of 0.1 to 0.5 with an object of another class"),
    ErrorKind("duplicate", "IoU of at least 0.5 with an object that a higher-scoring detection matches"),
    ErrorKind("background", "IoU of less than 0.1 with every object"),
    ErrorKind("missed", "an object that no detection matches, and no classification or localization error either"),
    ErrorKind("ignored", "a crowd, or a detection that COCO ignores because of one"),
)
_POSITIONS = {kind.name: position for position, kind in enumerate(KINDS)}
_CORRECT, _MISSED, _IGNORED = (_POSITIONS[name] for name in ("correct", "missed", "ignored"))

LEAST_SCORE = 0.05
MOST_DETECTIONS = 300
"""The most detections of an image on the page, the highest-scoring ones."""


def detection_images(evaluation: CocoEvaluation, errors: AssignedErrors, evaluated: Evaluated) -> Section:
    """The images with the most errors: undetected objects, and wrong detections, which weigh as much as they score.

    Args:
        evaluation: of boxes or masks.
        errors: of `evaluation`.
        evaluated: the images, and what the page shows.
    """
    truth, options = evaluation.ground_truth, evaluated.options
    order = np.argsort(-badness(errors, len(truth.image_ids), options.score_threshold), kind="stable")[: options.images]
    least = min(LEAST_SCORE, options.score_threshold)
    shapes = ObjectShapes(evaluated.evaluators.values())
    images = [_browser_image(evaluation, errors, evaluated, shapes, int(number), least) for number in order]
    browser = error_browser(
        images,
        [category.name for category in evaluation.categories],
        KINDS,
        len(truth.image_ids),
        "the most errors: undetected objects, and the scores of wrong detections",
        options.longest_side,
        least,
        options.score_threshold,
    )
    left_out = (
        f"Not shown: detections with a score below {least:g}, and all but the {MOST_DETECTIONS} highest-scoring of an "
        "image. They count in the numbers on this page."
    )
    return Section("worst-images", "Worst images", [browser, paragraph(left_out)])


def badness(errors: AssignedErrors, images: int, score_threshold: float) -> np.ndarray:
    """float64 ``(I,)`` for each image its undetected objects, plus the scores of its wrong detections.

    Args:
        errors: of all images.
        images: their number I.
        score_threshold: the least score of a detection that counts.
    """
    counts = errors.detections.scores >= score_threshold
    is_wrong = counts & (errors.error >= 0)
    wrong = np.bincount(errors.detections.images[is_wrong], errors.detections.scores[is_wrong], minlength=images)
    is_detected = np.zeros(len(errors.objects), dtype=bool)
    is_detected[errors.object_of[counts & errors.is_correct]] = True
    return wrong + np.bincount(errors.objects.images[~is_detected], minlength=images)


def _browser_image(
    evaluation: CocoEvaluation,
    errors: AssignedErrors,
    evaluated: Evaluated,
    shapes: ObjectShapes,
    number: int,
    least_score: float,
) -> BrowserImage:
    truth, detections = evaluation.ground_truth, errors.detections
    image_id = truth.image_ids[number]
    image = evaluated.image(image_id)
    scale = min(1.0, evaluated.options.longest_side / max(image.shape[:2]))

    def marks(of: PackedObjects, rows: np.ndarray, kind: int) -> list[Mark]:
        """Of objects of one kind."""
        pairs = zip(of.categories[rows].tolist(), of.boxes[rows], strict=True)
        return [
            Mark(label, kind, box.tolist(), shape=shapes.of_object(image_id, label, box, scale)) for label, box in pairs
        ]

    rows = np.flatnonzero(errors.objects.images == number)
    crowds = np.flatnonzero((truth.objects.images == number) & truth.objects.ignored)
    objects = [*marks(errors.objects, rows, _MISSED), *marks(truth.objects, crowds, _IGNORED)]
    found = np.flatnonzero((detections.images == number) & (detections.scores >= least_score))
    found = found[np.argsort(-detections.scores[found], kind="stable")][:MOST_DETECTIONS]
    position = {row: place for place, row in enumerate(rows.tolist())}
    answers = []
    for row in found.tolist():
        label, score = int(detections.categories[row]), float(detections.scores[row])
        shape = shapes.of_detection(image_id, label, score, detections.boxes[row], scale)
        answers.append(_answer(errors, row, position, shape))
    return BrowserImage(truth.image_names.get(image_id, str(image_id)), image, objects, answers)


def _answer(errors: AssignedErrors, row: int, position: dict[int, int], shape: Shape | None) -> Mark:
    detections, error = errors.detections, int(errors.error[row])
    right = _CORRECT if errors.is_correct[row] else _IGNORED
    return Mark(
        label=int(detections.categories[row]),
        kind=_POSITIONS[ERROR_KINDS[error]] if error >= 0 else right,
        box=detections.boxes[row].tolist(),
        score=float(detections.scores[row]),
        object=position.get(int(errors.object_of[row]), -1),
        iou=float(errors.iou[row]),
        shape=shape,
    )
