"""The sections of image classes, also of localization: metrics, classes, confusions, worst images."""

from __future__ import annotations

import numpy as np

from detkit.evaluation import ImageEvaluation
from detkit.evaluation.detection_collector import DetectionCollector
from detkit.evaluation.image_collector import ImageCollector, ImageTruth
from detkit.reporting.evaluated import Evaluated
from detkit.reporting.parts.confusion_part import confusion_part, confusion_summary
from detkit.reporting.parts.data_table import Cell, Row, data_table
from detkit.reporting.parts.error_browser import BrowserImage, ErrorKind, Mark, error_browser
from detkit.reporting.section import Section
from detkit.reporting.sections.plain_sections import anchor, evaluator_section

KINDS = (
    ErrorKind("correct", "the first answer is right"),
    ErrorKind("wrong location", "the first answer has the right class, but its box is not on an object of that class"),
    ErrorKind("confused", "the first answer is wrong, one of the next four is right"),
    ErrorKind("wrong", "none of the first five answers is right"),
    ErrorKind("no answer", "the model gave none"),
    ErrorKind("next", "another answer, with a lower score than the first", color=7),
)
_CORRECT, _WRONG_LOCATION, _CONFUSED, _WRONG, _NO_ANSWER, _NEXT = range(len(KINDS))


def image_class_sections(evaluated: Evaluated) -> list[Section]:
    """The sections of the evaluators of image classes; others get their metrics alone."""
    sections: list[Section] = []
    for name, evaluator in evaluated.evaluators.items():
        if isinstance(evaluator, ImageCollector) and isinstance(evaluator.evaluation, ImageEvaluation):
            sections += class_sections(name, evaluator, evaluator.evaluation, evaluated)
        elif not isinstance(evaluator, DetectionCollector):
            sections += evaluator_section(name, evaluator, evaluated)
    return sections


def class_sections(
    name: str, evaluator: ImageCollector, evaluation: ImageEvaluation, evaluated: Evaluated
) -> list[Section]:
    """The sections of an evaluation of image classes.

    Args:
        name: of the evaluator.
        evaluator: what has computed it.
        evaluation: its result.
        evaluated: the images, and what the page shows.
    """
    matrix = evaluation.confusion_matrix
    confusion = [confusion_part(matrix)]
    return [
        _metrics(name, evaluation, evaluator.headline, evaluated),
        Section(anchor(name, "confusion"), evaluated.title("Confusion", name), confusion, confusion_summary(matrix)),
        *([_images(name, evaluator, evaluation, evaluated)] if evaluated.options.images else []),
    ]


def _metrics(name: str, evaluation: ImageEvaluation, headline: str, evaluated: Evaluated) -> Section:
    titles = {metric: metric.replace("_", " ") for metric in evaluation.values}
    rows: list[Row] = [[titles[metric], Cell.percent(value, bar=True)] for metric, value in evaluation.metrics.items()]
    classes: list[Row] = [
        [of, *(Cell.percent(row[metric], metric == headline) for metric in titles),
         Cell.number(int(row["images"]))]
        for of, row in evaluation.per_class().items()
    ]  # fmt: skip
    columns = ["class", *(f"{title} %" for title in titles.values()), "images"]
    parts = [
        data_table(f"{len(evaluation.labels)} images", ["metric", "%"], rows, sortable=False),
        data_table("Metrics of each class", columns, classes),
    ]
    value = evaluation.metrics[headline]
    summary = f"{titles[headline]} is {Cell.percent(value).text} % of {len(evaluation.labels)} images."
    return Section(anchor(name, "metrics"), evaluated.title("Metrics", name), parts, summary)


def _images(name: str, evaluator: ImageCollector, evaluation: ImageEvaluation, evaluated: Evaluated) -> Section:
    """The wrong images, those whose wrong answer has the highest score first; then the others."""
    kinds, truth = image_kinds(evaluation, evaluator.headline), evaluator.truth
    scores = np.zeros(len(kinds)) if evaluation.scores is None else np.nan_to_num(evaluation.scores[:, 0])
    order = np.lexsort((-scores, kinds == _CORRECT))[: evaluated.options.images]
    images = [_browser_image(evaluation, truth, evaluated, int(row), int(kinds[row])) for row in order]
    browser = error_browser(
        images,
        [category.name for category in evaluation.categories],
        KINDS,
        len(kinds),
        "the highest-scoring wrong answers",
        evaluated.options.longest_side,
    )
    return Section(anchor(name, "worst-images"), evaluated.title("Worst images", name), [browser])


def image_kinds(evaluation: ImageEvaluation, headline: str) -> np.ndarray:
    """int64 ``(n,)`` the kind of each image, as a position in `KINDS`.

    Args:
        evaluation: of n images.
        headline: the metric of the first answer, which tells what is correct.
    """
    is_right = evaluation.answers == evaluation.labels[:, None]
    is_correct = evaluation.values[headline].astype(bool)
    return np.select(
        [is_correct, evaluation.answers[:, 0] < 0, is_right[:, 0], is_right.any(axis=1)],
        [_CORRECT, _NO_ANSWER, _WRONG_LOCATION, _CONFUSED],
        _WRONG,
    )


def _browser_image(
    evaluation: ImageEvaluation, truth: ImageTruth, evaluated: Evaluated, row: int, kind: int
) -> BrowserImage:
    label = int(evaluation.labels[row])
    objects = [Mark(label, kind)]
    if evaluation.boxes is not None:
        objects = [Mark(label, kind, _sides(box)) for box in truth.boxes[row].tolist()]
    answers = []
    for rank in range(int((evaluation.answers[row] >= 0).sum())):
        answer = int(evaluation.answers[row, rank])
        own = kind if rank == 0 else _CORRECT if answer == label and evaluation.boxes is None else _NEXT
        box = None if evaluation.boxes is None else _sides(evaluation.boxes[row, rank].tolist())
        score = None if evaluation.scores is None else float(evaluation.scores[row, rank])
        answers.append(Mark(answer, own, box, score))
    image_id = truth.image_ids[row]
    return BrowserImage(str(image_id), evaluated.image(image_id), objects, answers)


def _sides(box: list[float]) -> list[float]:
    return [box[0], box[1], box[2] - box[0], box[3] - box[1]]
