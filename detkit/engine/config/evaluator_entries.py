"""Evaluators in configs: plain entries, completed and turned into factories by their classes' signatures."""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from jsonargparse import ArgumentError, ArgumentParser, Namespace

from detkit.engine.config.building import build
from detkit.engine.config.parse_errors import describe_parse_error
from detkit.engine.config.records.record_parser import parse_record, record_parser
from detkit.errors import InputError
from detkit.evaluation import Evaluator
from detkit.models import VisionModel
from detkit.tasks import NAMED_EVALUATORS, task_of

logger = logging.getLogger(__name__)

EvaluatorFactory = Callable[[Path], Evaluator]  # for jsonargparse: the first argument does not come from the config
"""A class of evaluators with the arguments that the config gives; the ground truth and categories come later."""

Entry = Mapping[str, Any]
"""An evaluator in a config: ``{"class_path": …, "init_args": {…}}``."""

OLD_KEYS = ("evaluate", "keypoint_sigmas")  # of configs, which became `evaluators`

Kind = Literal[tuple(NAMED_EVALUATORS)]  # type: ignore[valid-type]  # the tasks define the names
"""The short names of evaluators."""


def add_evaluators(parser: ArgumentParser, default: str) -> None:
    """Declare the argument; `default` describes which evaluators are used without it."""
    parser.add_argument(
        "--evaluators",
        type=list[EvaluatorFactory] | None,
        help="list of evaluators, such as [{class_path: CocoEvaluator, init_args: {iou_type: segm}}]; your own by "
        f"import path; default: {default}",
    )


def add_old_keys(parser: ArgumentParser) -> None:
    """Declare the keys of earlier configs for which `evaluators` stands now."""
    kinds = list[Kind] | None  # type: ignore[valid-type]  # see `Kind`
    parser.add_argument("--evaluate", type=kinds, help="deprecated, use --evaluators")
    parser.add_argument(
        "--keypoint_sigmas", type=list[float] | None, help="deprecated, use keypoint_sigmas of CocoEvaluator"
    )


def entries_named(names: Sequence[str]) -> list[Entry]:
    """The evaluators with the short names ``bbox``, ``segm``, ``voc2007`` …"""
    return [NAMED_EVALUATORS[name].entry for name in names]


def task_entries(model: VisionModel) -> list[Entry]:
    """The default evaluators of a model's task."""
    return [{"class_path": f"{kind.__module__}.{kind.__qualname__}"} for kind in task_of(model).evaluators]


def complete_entries(entries: Sequence[Entry]) -> list[Entry]:
    """The entries with import paths and all arguments of their classes.

    Raises:
        InputError: there is no such class, or it does not take these arguments.
    """
    return [one.as_dict() for one in _parsed(_parser(), entries)]


def with_arguments(entries: Sequence[Entry], **arguments: Any) -> list[Entry]:
    """Complete entries with arguments such as ``backend`` set in each that has them; None changes nothing."""
    changed = [copy.deepcopy(dict(entry)) for entry in entries]
    for entry in changed:
        for name, value in arguments.items():
            if value is not None and name in entry.get("init_args", {}):
                entry["init_args"][name] = value
    return [*changed]


def factories(entries: Sequence[Entry]) -> list[EvaluatorFactory]:
    """Factories of evaluators, to be called with the ground truth and ``categories``."""
    parser = _parser()
    made: list[EvaluatorFactory] = build(parser, Namespace(evaluators=_parsed(parser, entries))).evaluators
    return made


def check_named(option: str, names: Sequence[str], model: VisionModel) -> None:
    """Refuse short names of evaluators that read what the model's answers do not hold.

    Raises:
        InputError: it names the option and the possible values.
    """
    parts = task_of(model).parts
    for name in names:
        if NAMED_EVALUATORS[name].reads not in parts:
            others = [other for other, one in NAMED_EVALUATORS.items() if one.reads in parts]
            possible = ", ".join(others) or "none of these"
            raise InputError(f"{option} names {name}, but the {type(model).__name__} can be evaluated as {possible}")


def entries_of_old_keys(
    names: Sequence[str] | None,
    keypoint_sigmas: Sequence[float] | None,
    entries: Sequence[Entry] | None,
    model: VisionModel,
) -> list[Entry] | None:
    """Turn ``evaluate`` and ``keypoint_sigmas`` of earlier configs into entries, with a warning.

    Args:
        names: value of ``evaluate``.
        keypoint_sigmas: value of ``keypoint_sigmas``.
        entries: value of ``evaluators``, complete; where it is given, `names` are ignored.
        model: what is evaluated.

    Returns:
        Entries to use in place of `entries`; None where the old keys change nothing.

    Raises:
        InputError: the model cannot be evaluated so.
    """
    if names is None and keypoint_sigmas is None:
        return None
    if entries is None and names is not None:
        check_named("evaluate", names, model)
        entries = complete_entries(entries_named(names))
    elif entries is None:
        logger.warning("keypoint_sigmas is deprecated: it is an argument of CocoEvaluator, under evaluators")
        return None
    entries = with_arguments(entries, keypoint_sigmas=keypoint_sigmas)
    instead = [_as_written(entry) for entry in entries]
    logger.warning("evaluate and keypoint_sigmas are deprecated: write evaluators: %s", json.dumps(instead))
    return entries


def _as_written(entry: Entry) -> dict[str, Any]:
    """A complete entry without the arguments that are not set."""
    arguments = {name: value for name, value in entry.get("init_args", {}).items() if value is not None}
    return {"class_path": entry["class_path"].rpartition(".")[2], "init_args": arguments}


def _parser() -> ArgumentParser:
    parser = record_parser()
    add_evaluators(parser, "none")
    return parser


def _parsed(parser: ArgumentParser, entries: Sequence[Entry]) -> list[Namespace]:
    try:
        parsed = parse_record(parser, {"evaluators": list(entries)})
    except ArgumentError as error:
        raise InputError(describe_parse_error(error, parser, [])) from error
    evaluators: list[Namespace] = parsed.evaluators
    return evaluators
