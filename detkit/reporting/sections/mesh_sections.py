"""The section of meshes: the true and the predicted ones of some images, side by side."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
import torch
from markupsafe import Markup

from detkit.evaluation.meshes.given_meshes import center_depths, enlarged
from detkit.ops import box_iou
from detkit.reporting.evaluated import Evaluated
from detkit.reporting.parts.image_strip import StripImage
from detkit.reporting.parts.mesh_viewer import MeshScene, mesh_viewer
from detkit.reporting.parts.rendering import paragraph
from detkit.reporting.section import Section
from detkit.structures import Category, Detections, Meshes, Target
from detkit.visualization import draw_detections
from detkit.visualization.colors import Color, class_color

MOST_IMAGES = 8
_SAME_OBJECT = 0.3
"""The least IoU of a detection with the object whose distance it gets, as `MeshEvaluator` has it."""
_DISTANCES = (
    "An image does not tell how far away an object is. Each predicted mesh is shown at the distance of the object that "
    "its box overlaps most, if their IoU is above 0.3, else at the median distance of the image's objects."
)


def mesh_section(evaluated: Evaluated) -> list[Section]:
    """Images spread over the data, each with its true and its predicted meshes; nothing where none can be shown."""
    ids = evaluated.dataset.image_ids
    most = min(evaluated.options.images, MOST_IMAGES, len(ids))
    if evaluated.predict is None or not most:
        return []
    chosen = [ids[row] for row in np.linspace(0, len(ids) - 1, most).round().astype(int)]
    parts: list[Markup] = [_viewer(image_id, evaluated) for image_id in chosen]
    if most < len(ids):
        parts.append(paragraph(f"{most} of {len(ids)} images are shown."))
    return [Section("meshes", "Meshes", [paragraph(_DISTANCES), *parts])]


def _viewer(image_id: object, evaluated: Evaluated) -> Markup:
    assert evaluated.predict is not None
    threshold = evaluated.options.score_threshold
    image, target = evaluated.sample(image_id)
    (answer,) = evaluated.predict([image], [target])
    found: Detections = answer.to("cpu")[(answer.scores >= threshold).cpu()]
    objects = target.objects()
    classes, predicted = evaluated.dataset.categories, answer.categories or evaluated.dataset.categories
    meshes = Meshes([], []) if found.meshes is None else at_true_distances(found, objects)
    scenes = [MeshScene(f"prediction: {_counted(found.labels, predicted)}", meshes, _colors(found.labels))]
    if objects.meshes is not None and objects.labels is not None:
        truth = f"truth: {_counted(objects.labels, classes)}"
        scenes.insert(0, MeshScene(truth, objects.meshes, _colors(objects.labels)))
    drawn = StripImage(f"prediction, score ≥ {threshold:g}", draw_detections(image, found, predicted, threshold))
    return mesh_viewer(f"image {image_id!r}", scenes, drawn, evaluated.options.longest_side)


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
    return enlarged(found.meshes, torch.where(overlaps > _SAME_OBJECT, depths[rows], depths.median()))


def _counted(labels: torch.Tensor, categories: Sequence[Category]) -> str:
    counts = Counter(categories[label].name for label in labels.tolist())
    return ", ".join(name if count == 1 else f"{count} {name}" for name, count in counts.items()) or "nothing"


def _colors(labels: torch.Tensor) -> list[Color]:
    return [class_color(label) for label in labels.tolist()]
