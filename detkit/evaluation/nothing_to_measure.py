"""Why an evaluation gives numbers that say nothing: -1 without objects, 0 without detections."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from detkit.errors import InputError
from detkit.evaluation.ground_truth import GroundTruth
from detkit.evaluation.packed_objects import PackedDetections

_FEW = 0.1
_MOST_NAMED = 5


def why_nothing(
    source: str, images: int, names: Sequence[str], objects: np.ndarray, answers: int, called: str, counted: str
) -> str | None:
    """One sentence that says what there is too little of for the numbers to mean something; None where they do.

    Args:
        source: how messages name the ground truth.
        images: the number of images to evaluate.
        names: of the K classes.
        objects: ``(K,)`` the number of objects of each class that count.
        answers: the number of answers to compare with them.
        called: what messages call the answers.
        counted: what messages call the objects.
    """
    if not images or not len(names) or not objects.sum():
        missing = "images" if not images else "classes" if not len(names) else counted
        return f"{source} has no {missing}, so there is nothing to measure: the numbers are -1"
    if not answers:
        return f"there are no {called} of any of the {images} images of {source}: the numbers are 0"
    absent = [name for name, count in zip(names, objects, strict=True) if not count]
    if not absent:
        return None
    shown = ", ".join(absent[:_MOST_NAMED]) + (" …" if len(absent) > _MOST_NAMED else "")
    return (
        f"{source} has no {counted} of {len(absent)} of {len(names)} classes ({shown}): their numbers are -1, and no "
        "part of the means"
    )


def why_no_detections(truth: GroundTruth, objects: np.ndarray, detections: PackedDetections) -> str | None:
    """The sentence of `why_nothing` about detections.

    Args:
        truth: what they are compared with.
        objects: ``(K,)`` the number of objects of each class that must be detected.
        detections: those of all images.
    """
    names = [category.name for category in truth.categories]
    return why_nothing(
        truth.source, len(truth.image_ids), names, objects, len(detections), "detections", "objects to detect"
    )


def check_has_objects(truth: GroundTruth) -> None:
    """Raise an `InputError` where there are no images, classes or objects to resample."""
    if not truth.image_ids or not truth.categories or truth.objects.ignored.all():
        raise InputError(f"{truth.source} has no objects to detect, so there is nothing to resample: give other data.")


def why_few(truth: GroundTruth, detections: PackedDetections, source: str) -> str | None:
    """A sentence where a file has detections of few of the images; None where it has of many, or of none at all."""
    images, answered = len(truth.image_ids), len(np.unique(detections.images))
    if not 0 < answered < _FEW * images:
        return None
    return (
        f"{source} has detections of only {answered} of the {images} images of {truth.source}; the others count as "
        "images in which nothing was detected"
    )
