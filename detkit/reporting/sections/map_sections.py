"""The sections of label maps: metrics, classes, confusions, and the images with the most wrong pixels."""

from __future__ import annotations

import numpy as np
from markupsafe import Markup

from detkit.evaluation import SemanticEvaluator
from detkit.evaluation.semantic.semantic_evaluation import SemanticEvaluation
from detkit.reporting.evaluated import Evaluated
from detkit.reporting.parts.confusion_part import confusion_part, confusion_summary
from detkit.reporting.parts.image_strip import StripImage, image_strip
from detkit.reporting.parts.rendering import paragraph
from detkit.reporting.section import Section
from detkit.reporting.sections.plain_sections import anchor, evaluator_section
from detkit.structures import SemanticMap, Target
from detkit.structures.image_fields import IGNORE_INDEX
from detkit.visualization.map_drawing import draw_label_map

_WRONG, _RIGHT = (230, 40, 40), 0.35
_MOST_IMAGES = 12


def map_sections(evaluated: Evaluated) -> list[Section]:
    """The sections of each evaluator; those of others than label maps get their metrics alone."""
    sections: list[Section] = []
    for name, evaluator in evaluated.evaluators.items():
        sections += evaluator_section(name, evaluator, evaluated)
        if isinstance(evaluator, SemanticEvaluator) and isinstance(evaluator.evaluation, SemanticEvaluation):
            matrix = evaluator.evaluation.confusion_matrix
            title = evaluated.title("Confusion", name)
            sections.append(
                Section(anchor(name, "confusion"), title, [confusion_part(matrix)], confusion_summary(matrix))
            )
            sections += _worst_images(name, evaluator, evaluated)
    return sections


def _worst_images(name: str, evaluator: SemanticEvaluator, evaluated: Evaluated) -> list[Section]:
    """The images with the most wrong pixels: the truth, the answer, and where they differ."""
    most = min(evaluated.options.images, _MOST_IMAGES)
    ids, _ = evaluator.measured()
    if evaluated.predict is None or not most or not ids:
        return []
    pixels = evaluator.image_weighting().pixels
    wrong = pixels.truth.sum(axis=1) - pixels.hits.sum(axis=1)
    groups = []
    for row in np.argsort(-wrong, kind="stable")[:most].tolist():
        image, target = evaluated.sample(ids[row])
        (answer,) = evaluated.predict([image], [target])
        share = wrong[row] / max(int(pixels.truth[row].sum()), 1)
        groups.append(_pictures(f"image {ids[row]!r}: {100 * share:.1f} % wrong", image, target, answer, evaluator))
    title = "Truth, prediction, and in red the pixels of another class"
    parts: list[Markup] = [image_strip(title, groups, evaluated.options.longest_side)]
    if len(groups) < len(ids):
        parts.append(paragraph(f"{len(groups)} of {len(ids)} images are shown."))
    return [Section(anchor(name, "worst-images"), evaluated.title("Worst images", name), parts)]


def _pictures(
    caption: str, image: np.ndarray, target: Target, answer: SemanticMap, evaluator: SemanticEvaluator
) -> list[StripImage]:
    assert target.label_map is not None  # others are not measured
    given = in_labels_of_truth(answer, evaluator.positions)
    truth = target.label_map.numpy().astype(np.int64)
    known = truth != IGNORE_INDEX[target.label_map.dtype]
    differs = known & (given != truth)
    difference = (_RIGHT * image.astype(np.float64)).round().astype(np.uint8)
    difference[differs] = _WRONG
    return [
        StripImage(f"{caption}; truth", draw_label_map(image, target.label_map, evaluator.truth.categories)),
        StripImage("prediction", draw_label_map(image, answer.label_map, evaluator.categories)),
        StripImage("difference", difference),
    ]


def in_labels_of_truth(answer: SemanticMap, positions: np.ndarray) -> np.ndarray:
    """The class of each pixel ``(H, W)`` among those of the truth; -1 for none of them.

    Args:
        answer: in the labels of the model.
        positions: int64 ``(K,)`` the class of each label of the model.
    """
    labels = answer.label_map.numpy().astype(np.int64)
    labels = np.where(labels == IGNORE_INDEX[answer.label_map.dtype], len(positions), labels)
    moved: np.ndarray = np.append(positions, -1)[labels]
    return moved
