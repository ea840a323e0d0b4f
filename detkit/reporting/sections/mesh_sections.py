"""The section of meshes: the true and the predicted ones of some images, side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from markupsafe import Markup

from detkit.evaluation.meshes.detected_meshes import LEAST_BOX_IOU, match_detections
from detkit.evaluation.meshes.given_meshes import center_depths, enlarged
from detkit.ops import box_iou
from detkit.reporting.evaluated import Evaluated
from detkit.reporting.parts.image_strip import StripImage
from detkit.reporting.parts.mesh_viewer import MeshScene, mesh_viewer
from detkit.reporting.parts.rendering import paragraph
from detkit.reporting.section import Section
from detkit.structures import Category, Detections, Meshes, ObjectShape, Target
from detkit.visualization import draw_answer, draw_detections
from detkit.visualization.colors import Color, class_color

MOST_IMAGES = 8
LEAST_SCORE_ALONE = 0.5
"""The least score of a detection of no object that is shown."""
_DETECTIONS = (
    "A detection belongs to the object that its box overlaps most, if their IoU is above {iou:g}. Of each object the "
    "detection with the highest score is shown, whatever its class, if the score is at least {score:g}. Detections of "
    "no object are shown if their score is at least {alone:g}."
)
_DISTANCES = (
    "An image does not tell how far away an object is. Each predicted mesh is shown at the distance of the object that "
    "it belongs to, else at the median distance of the image's objects."
)


def mesh_section(evaluated: Evaluated) -> list[Section]:
    """Images spread over the data, each with its true meshes and those of its detections; nothing where none can be
    shown."""
    score = evaluated.options.score_threshold
    rule = _DETECTIONS.format(iou=LEAST_BOX_IOU, score=score, alone=max(LEAST_SCORE_ALONE, score))
    return _section(evaluated, _of_detections, [paragraph(rule), paragraph(_DISTANCES)])


def object_mesh_section(evaluated: Evaluated) -> list[Section]:
    """The same for answers with the mesh of the image's one object, in the units of the data."""
    return _section(evaluated, _of_object, [])


Parts = tuple[MeshScene, StripImage]
"""The meshes of an answer, and its drawing."""


def _section(
    evaluated: Evaluated, parts_of: Callable[[Evaluated, np.ndarray, Target, Any], Parts], before: Sequence[Markup]
) -> list[Section]:
    ids = evaluated.dataset.image_ids
    most = min(evaluated.options.images, MOST_IMAGES, len(ids))
    if evaluated.predict is None or not most:
        return []
    parts = list(before)
    for row in np.linspace(0, len(ids) - 1, most).round().astype(int):
        image, target = evaluated.sample(ids[row])
        (answer,) = evaluated.predict([image], [target])
        prediction, drawn = parts_of(evaluated, image, target, answer.to("cpu"))
        scenes = [*_of_truth(target.objects(), evaluated.dataset.categories), prediction]
        parts.append(mesh_viewer(f"image {ids[row]!r}", scenes, drawn, evaluated.options.longest_side))
    if most < len(ids):
        parts.append(paragraph(f"{most} of {len(ids)} images are shown."))
    return [Section("meshes", "Meshes", parts)]


def _of_truth(objects: Target, categories: Sequence[Category]) -> list[MeshScene]:
    """The true meshes; none where they are not annotated."""
    if objects.meshes is None or objects.labels is None:
        return []
    return [MeshScene(f"truth: {_counted(objects.labels, categories)}", objects.meshes, _colors(objects.labels))]


def _of_detections(evaluated: Evaluated, image: np.ndarray, target: Target, answer: Detections) -> Parts:
    threshold = evaluated.options.score_threshold
    found = worth_showing(answer, target.objects(), threshold)
    classes = answer.categories or evaluated.dataset.categories
    meshes = Meshes([], []) if found.meshes is None else at_true_distances(found, target.objects())
    scene = MeshScene(f"prediction: {_counted(found.labels, classes)}", meshes, _colors(found.labels))
    return scene, StripImage(f"prediction, score ≥ {threshold:g}", draw_detections(image, found, classes, threshold))


def _of_object(evaluated: Evaluated, image: np.ndarray, target: Target, answer: ObjectShape) -> Parts:
    objects = target.objects()
    labels = objects.labels if objects.labels is not None and len(objects.labels) == 1 else torch.zeros(1).long()
    drawn = StripImage("prediction", draw_answer(image, answer, evaluated.dataset.categories))
    return MeshScene("prediction", answer.meshes, _colors(labels)), drawn


def worth_showing(answer: Detections, objects: Target, threshold: float) -> Detections:
    """The best detection of each true object, and those of no object that are rather certain, best first.

    Others of an object would hide the best one. Detections belong to objects as `MeshEvaluator` has it.

    Args:
        answer: of an image, on the CPU.
        objects: of that image. Without boxes, all detections are of no object.
        threshold: the least score of a detection.
    """
    found = answer[answer.scores >= threshold]
    boxes = torch.zeros(0, 4) if objects.boxes is None else objects.boxes
    labels = np.zeros(len(boxes), dtype=np.int64)  # of no importance
    matched = match_detections(found.boxes, found.scores, np.zeros(len(found), dtype=np.int64), boxes, labels)
    _, best = np.unique(matched.objects, return_index=True)
    chosen = found.scores >= LEAST_SCORE_ALONE
    chosen[matched.rows] = False
    chosen[matched.rows[best]] = True
    shown = found[chosen]
    return shown[shown.scores.argsort(descending=True, stable=True)]


def at_true_distances(found: Detections, objects: Target) -> Meshes:
    """The meshes of detections, which are in units of the distance of their centers, at those of true objects.

    Args:
        found: D detections with meshes, on the CPU.
        objects: of their image. Without meshes, the distances stay 1.
    """
    assert found.meshes is not None
    if objects.meshes is None or objects.boxes is None or not len(objects.meshes) or not len(found):
        return found.meshes
    depths = center_depths(objects.meshes)
    overlaps, rows = box_iou(found.boxes, objects.boxes).max(dim=1)
    return enlarged(found.meshes, torch.where(overlaps > LEAST_BOX_IOU, depths[rows], depths.median()))


def _counted(labels: torch.Tensor, categories: Sequence[Category]) -> str:
    counts = Counter(categories[label].name for label in labels.tolist())
    return ", ".join(name if count == 1 else f"{count} {name}" for name, count in counts.items()) or "nothing"


def _colors(labels: torch.Tensor) -> list[Color]:
    return [class_color(label) for label in labels.tolist()]
