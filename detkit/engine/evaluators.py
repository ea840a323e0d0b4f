"""The evaluators of a run: built for a model and a data set, with one name each."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from detkit.engine.checkpoint import Checkpoint
from detkit.engine.config.evaluator_entries import (
    OLD_KEYS,
    Entry,
    EvaluatorFactory,
    Kind,
    complete_entries,
    entries_named,
    with_arguments,
)
from detkit.engine.config.trust import check_trusted
from detkit.errors import InputError
from detkit.evaluation import Evaluator
from detkit.models import VisionModel
from detkit.structures import Category
from detkit.tasks import task_of

__all__ = ["Kind", "by_name", "make_evaluators", "monitored_metric", "recorded_evaluators"]


def make_evaluators(
    model: VisionModel,
    evaluators: Sequence[EvaluatorFactory] | None,
    truth: str | Path | dict[str, Any],
    categories: Sequence[Category],
) -> dict[str, Evaluator]:
    """Build the evaluators of a model's answers, by name, in the order of the config.

    Args:
        model: what is evaluated.
        evaluators: factories from the config; None for the evaluators of the model's task.
        truth: ground truth of the data set, as its `ground_truth` gives it.
        categories: the class of each label of the model.

    Raises:
        InputError: an evaluator does not fit the data or the answers of the model, or two have the same name.
    """
    task = task_of(model)
    makers: Sequence[Callable[..., Evaluator]] = task.evaluators if evaluators is None else evaluators
    made = [make(truth, categories=categories) for make in makers]
    for evaluator in made:
        for attribute in ("name", "reads", "headline"):
            if not isinstance(getattr(evaluator, attribute, None), str):
                owner = type(evaluator).__name__
                raise InputError(f"evaluators: {owner} has no {attribute}: set it on the class or in its constructor.")
        if evaluator.reads not in task.parts:
            raise InputError(
                f"evaluators: the {type(evaluator).__name__} reads {evaluator.reads}, but the answers of the "
                f"{type(model).__name__} hold {', '.join(sorted(task.parts))}: name another evaluator."
            )
    return by_name(made)


def by_name(evaluators: Sequence[Evaluator]) -> dict[str, Evaluator]:
    """The evaluators by name.

    Raises:
        InputError: two have the same name.
    """
    named: dict[str, Evaluator] = {}
    for evaluator in evaluators:
        if evaluator.name in named:
            raise InputError(f"evaluators: two are called {evaluator.name}, so their numbers would mix: leave out one.")
        named[evaluator.name] = evaluator
    return named


def monitored_metric(evaluators: Mapping[str, Evaluator]) -> tuple[str, bool]:
    """The logged number that decides which epoch is the best, and whether higher is better.

    It is the headline of the first evaluator.
    """
    for evaluator in evaluators.values():
        return evaluator.log_name(evaluator.headline), evaluator.higher_is_better
    return "val/AP", True


def recorded_evaluators(checkpoint: Checkpoint, trust: Sequence[str]) -> list[Entry] | None:
    """The evaluators of the checkpoint's recipe, if it names any; nothing is imported that is not trusted."""
    names, sigmas = (checkpoint.recipe.get(name) for name in OLD_KEYS)
    try:
        entries = checkpoint.recipe.get("evaluators") or entries_named(names or [])
    except (KeyError, TypeError) as error:
        raise InputError(f"{checkpoint.path}: detkit.config.evaluate names no evaluators ({error}).") from error
    if not entries:
        return None
    check_trusted(entries, trust, checkpoint.path)
    check_trusted(complete := complete_entries(entries), trust, checkpoint.path)
    return with_arguments(complete, keypoint_sigmas=sigmas)
