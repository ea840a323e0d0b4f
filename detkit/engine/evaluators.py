"""Which evaluators judge a model: those of the config, of the options that stand for them, or of the model's task."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from jsonargparse import ArgumentError, ArgumentParser, Namespace

from detkit.engine.building import build
from detkit.engine.config.parse_errors import explain
from detkit.errors import InputError
from detkit.evaluation import Evaluator
from detkit.models import VisionModel
from detkit.structures import Category
from detkit.tasks import NAMED_EVALUATORS, task_of

logger = logging.getLogger(__name__)

EvaluatorFactory = Callable[[Path], Evaluator]  # for jsonargparse: the first argument is not the config's
"""A class of evaluators, and those of its arguments that the config gives: the truth and categories come later."""

Entry = Mapping[str, Any]
"""An evaluator in a config: ``{"class_path": …, "init_args": {…}}``."""

OLD_KEYS = ("evaluate", "keypoint_sigmas")  # of configs, which became `evaluators`


Kind = Literal[tuple(NAMED_EVALUATORS)]  # type: ignore[valid-type]
"""The short names of evaluators."""


def add_evaluators(parser: ArgumentParser, default: str) -> None:
    """Declare the argument; `default` says which evaluators there are without it."""
    parser.add_argument(
        "--evaluators",
        type=list[EvaluatorFactory] | None,
        help="what judges the answers: classes of evaluators, detkit's by name and yours by import path, such as "
        f"[{{class_path: CocoEvaluator, init_args: {{iou_type: segm}}}}]; default: {default}",
    )


def entries_named(names: Sequence[str]) -> list[Entry]:
    """The evaluators that old configs and options of `eval` call ``bbox``, ``segm``, ``voc2007`` …"""
    return [NAMED_EVALUATORS[name].entry for name in names]


def check_named(option: str, names: Sequence[str], model: VisionModel) -> None:
    """Refuse names of evaluators that read what the model's answers do not hold.

    Raises:
        InputError: it names the option and what would do.
    """
    parts = task_of(model).parts
    for name in names:
        if NAMED_EVALUATORS[name].reads not in parts:
            others = [other for other, one in NAMED_EVALUATORS.items() if one.reads in parts]
            possible = ", ".join(others) or "none of these"
            raise InputError(f"{option} names {name}, but the {type(model).__name__} can be evaluated as {possible}")


def parsed_evaluators(entries: Sequence[Entry]) -> list[Namespace]:
    """Evaluators as a config names them, with all the arguments of their classes.

    Raises:
        InputError: there is no such class, or it does not take these arguments.
    """
    parser = _evaluator_parser()
    try:
        return parser.parse_object({"evaluators": [copy.deepcopy(dict(entry)) for entry in entries]}).evaluators
    except ArgumentError as error:
        raise InputError(explain(error, parser, [])) from error


def with_arguments(parsed: Sequence[Namespace], **arguments: Any) -> list[Namespace]:
    """Parsed evaluators, with arguments such as ``backend`` for each that has them; None leaves them as they are."""
    parsed = copy.deepcopy(list(parsed))
    for evaluator in parsed:
        for name, value in arguments.items():
            if value is not None and name in evaluator.init_args:
                evaluator.init_args[name] = value
    return parsed


def factories(parsed: Sequence[Namespace]) -> list[EvaluatorFactory]:
    """Parsed evaluators, ready to be called with the truth and with ``categories``."""
    return build(_evaluator_parser(), Namespace(evaluators=list(parsed))).evaluators


def task_entries(model: VisionModel) -> list[Entry]:
    """The evaluators of a model's task as a config would name them."""
    return [{"class_path": f"{kind.__module__}.{kind.__qualname__}"} for kind in task_of(model).evaluators]


def read_old_keys(config: Namespace, built: Namespace) -> None:
    """Turn ``evaluate`` and ``keypoint_sigmas`` of configs from before into ``evaluators``.

    Args:
        config: the parsed config; where it has ``evaluators`` too, ``evaluate`` is left out.
        built: what was built of it.

    Raises:
        InputError: the model cannot be evaluated as they say.
    """
    names, sigmas = (config.get(name) for name in OLD_KEYS)
    if names is None and sigmas is None:
        return
    if names is not None and config.evaluators is None:
        check_named("evaluate", names, built.model)
        config.evaluators = parsed_evaluators(entries_named(names))
    elif config.evaluators is None:
        logger.warning("keypoint_sigmas is deprecated: it is an argument of CocoEvaluator, under evaluators")
        return
    config.evaluators = with_arguments(config.evaluators, keypoint_sigmas=sigmas)
    built.evaluators = factories(config.evaluators)
    instead = [_as_written(evaluator) for evaluator in config.evaluators]
    logger.warning("evaluate and keypoint_sigmas are deprecated: write evaluators: %s", json.dumps(instead))


def _as_written(evaluator: Namespace) -> dict[str, Any]:
    """A parsed evaluator without the arguments that nobody gave."""
    arguments = {name: value for name, value in evaluator.init_args.as_dict().items() if value is not None}
    return {"class_path": evaluator.class_path.rpartition(".")[2], "init_args": arguments}


def make_evaluators(
    model: VisionModel,
    evaluators: Sequence[EvaluatorFactory] | None,
    truth: str | Path | dict,
    categories: Sequence[Category],
) -> dict[str, Evaluator]:
    """The evaluators of a model's answers by their names, in the order of the config.

    Args:
        model: what is judged.
        evaluators: as the config has them; None for those of the model's task.
        truth: of the data set that is evaluated on.
        categories: the class of each label of the model.

    Raises:
        InputError: an evaluator does not fit the data or the answers of the model, or two have one name.
    """
    task = task_of(model)
    chosen = task.evaluators if evaluators is None else evaluators
    made = [factory(truth, categories=categories) for factory in chosen]
    for evaluator in made:
        if evaluator.reads not in task.parts:
            raise InputError(
                f"evaluators: the {type(evaluator).__name__} reads {evaluator.reads}, but the answers of the "
                f"{type(model).__name__} hold {', '.join(sorted(task.parts))}: name another evaluator."
            )
    return by_name(made)


def by_name(evaluators: Sequence[Evaluator]) -> dict[str, Evaluator]:
    """The evaluators by their names.

    Raises:
        InputError: two have one name.
    """
    named: dict[str, Evaluator] = {}
    for evaluator in evaluators:
        if evaluator.name in named:
            raise InputError(f"evaluators: two are called {evaluator.name}, so their numbers would mix: leave out one.")
        named[evaluator.name] = evaluator
    return named


def monitored(evaluators: Mapping[str, Evaluator]) -> tuple[str, bool]:
    """The logged number that decides which epoch is the best, the headline of the first evaluator, and whether its
    maximum is the best."""
    for evaluator in evaluators.values():
        return evaluator.log_name(evaluator.headline), evaluator.higher_is_better
    return "val/AP", True


def _evaluator_parser() -> ArgumentParser:
    parser = ArgumentParser(exit_on_error=False)
    add_evaluators(parser, "none")
    return parser
