"""How the answers of a model are judged in training, by its task."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal, get_args

from detkit.engine.module import Evaluator
from detkit.errors import InputError
from detkit.evaluation import ClassificationEvaluator, CocoEvaluator, LocalizationEvaluator
from detkit.evaluation.ground_truth import IouType
from detkit.models import Detector
from detkit.models.detector import Task
from detkit.structures import Category

Kind = Literal[IouType, "classification", "localization"]

# What each task can be judged by; the first is what it is judged by unless the config says otherwise.
_KINDS: dict[Task, tuple[Kind, ...]] = {
    "detection": get_args(IouType),
    "classification": ("classification",),
    "localization": ("localization", "classification", "bbox"),
}


def kinds_of(model: Detector, wanted: Sequence[Kind] | None) -> list[Kind]:
    """What a model is judged by: what is wanted, or what belongs to its task.

    Raises:
        InputError: the model's answers cannot be judged so.
    """
    possible = _KINDS[model.task]
    for kind in wanted or ():
        if kind not in possible:
            raise InputError(
                f"evaluate names {kind}, but the {type(model).__name__} can be evaluated as {', '.join(possible)}"
            )
    return list(possible[:1] if wanted is None else wanted)


def make_evaluator(
    kind: Kind, truth: Path | dict, categories: Sequence[Category], keypoint_sigmas: Sequence[float] | None = None
) -> Evaluator:
    """The evaluator of one kind against the ground truth of a data set."""
    if kind == "classification":
        return ClassificationEvaluator(truth, categories)
    if kind == "localization":
        return LocalizationEvaluator(truth, categories)
    return CocoEvaluator(truth, kind, keypoint_sigmas=keypoint_sigmas, categories=categories)


def monitored(kinds: Sequence[Kind]) -> str:
    """The logged number whose maximum is the best: the first one of the first kind."""
    kind = kinds[0] if kinds else "bbox"
    if kind == "bbox":
        return "val/AP"
    return f"val/{kind}/" + {"classification": "top1", "localization": "top1_localization"}.get(kind, "AP")
